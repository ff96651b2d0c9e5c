"""The user's own code as text and as functions: what a part depends on, which keys it reads."""
