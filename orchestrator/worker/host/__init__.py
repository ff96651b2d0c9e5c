"""Trials that a function of any library trains in a separate process."""
