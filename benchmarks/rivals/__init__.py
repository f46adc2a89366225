"""Every policy on the same arrivals: `make rivals` runs them and writes docs/rivals.md."""
