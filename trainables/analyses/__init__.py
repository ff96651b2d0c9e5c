"""Stages that train nothing: one analysis a file."""
