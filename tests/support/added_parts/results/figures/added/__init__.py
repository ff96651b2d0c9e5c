"""The figure of study `added`."""
