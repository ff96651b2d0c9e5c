"""Questions that have a name."""
