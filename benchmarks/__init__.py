"""Measurements. They print ratios taken in one run (A B A B) and gate nothing on time."""
