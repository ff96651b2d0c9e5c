"""One pack's life on a worker, without Ray."""
