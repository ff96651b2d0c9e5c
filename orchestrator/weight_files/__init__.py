"""Weights of other programs: read from and written to files, and kept in a store."""
