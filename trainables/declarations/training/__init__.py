"""Declarations of the stages that train."""
