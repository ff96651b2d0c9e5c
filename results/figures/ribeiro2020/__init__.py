"""Figures of study ribeiro2020."""
