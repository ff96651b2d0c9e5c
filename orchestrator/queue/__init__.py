"""Packs that wait, the store's lease, and how a launch stands."""
