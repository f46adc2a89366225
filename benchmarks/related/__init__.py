"""docs/related.md: what the authors of related systems claim, beside our figures."""
