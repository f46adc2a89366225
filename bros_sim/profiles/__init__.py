"""Profiles: what is known of a model on a GPU, and how sure one is of it."""
