"""Niyama (arXiv 2503.22562)."""
