"""Figures of study herranz2023."""
