"""BROS (arXiv 2504.09590): dynamic priorities for real-time and best-effort requests."""
