"""A trial that a program of its own trains, outside JAX."""
