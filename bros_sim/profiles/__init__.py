"""Profiles: what is known of a model on a GPU, and how certain that is."""
