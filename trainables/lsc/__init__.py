"""Stage `lsc`: pretraining to the Local Stability Condition."""
