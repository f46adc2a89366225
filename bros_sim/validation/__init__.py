"""Simulated against real: replay a run of a real engine and compare."""
