"""Figures of study zucchet2024."""
