"""What a model is asked to do: one family of tasks a file."""
