"""One family of models a file, built of `layers`."""
