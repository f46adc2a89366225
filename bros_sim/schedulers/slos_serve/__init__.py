"""SLOs-Serve (arXiv 2504.08784)."""
