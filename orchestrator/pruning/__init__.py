"""Ending bad trials early: rungs, rules, and the decisions they take."""
