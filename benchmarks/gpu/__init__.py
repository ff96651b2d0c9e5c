"""Packs on a GPU; each is a command of its own."""
