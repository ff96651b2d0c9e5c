"""What is refused before anything trains."""
