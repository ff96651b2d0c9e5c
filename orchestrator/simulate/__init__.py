"""A launch replayed on simulated machines."""
