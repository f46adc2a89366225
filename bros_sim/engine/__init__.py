"""One engine: a state machine at rest between two calls, its three ports, the record it keeps."""
