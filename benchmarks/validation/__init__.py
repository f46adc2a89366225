"""docs/validation.md: what the simulator predicts of real engines, and what nothing validates."""
