"""Stores that were copied into one another: which attempts show, and a safe way to copy."""
