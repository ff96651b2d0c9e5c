"""Figures of study bar2025."""
