"""Re-makes the kernel-calibrated profiles from kernel tables and compares with the shipped ones."""
