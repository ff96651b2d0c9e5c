"""Declarations of the tasks."""
