"""Many trials of one program, run together."""
