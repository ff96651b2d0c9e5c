"""All that knows Ray."""
