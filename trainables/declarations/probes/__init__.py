"""Declarations of the probes' tables."""
