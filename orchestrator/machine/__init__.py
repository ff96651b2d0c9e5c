"""This machine: its environment, and how many packs it holds."""
