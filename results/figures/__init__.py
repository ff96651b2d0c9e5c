"""Figures: what all share, those of every study, and a folder for a study's own."""
