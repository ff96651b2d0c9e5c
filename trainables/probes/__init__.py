"""What is measured between epochs: one family of probes a file."""
