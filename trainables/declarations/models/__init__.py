"""Declarations of the models."""
