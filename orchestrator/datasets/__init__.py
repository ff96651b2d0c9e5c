"""Data files: which there are, whether they are whole, their arrays."""
