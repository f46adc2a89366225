"""The vocabulary that every room shares: requests, the clock, errors, data files."""
