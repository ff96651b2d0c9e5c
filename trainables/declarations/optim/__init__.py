"""Declarations of the update rules."""
