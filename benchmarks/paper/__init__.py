"""The BROS paper beside our results: `make paper` writes docs/paper-reproduction.md."""
