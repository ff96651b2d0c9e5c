"""Declarations of the analyses."""
