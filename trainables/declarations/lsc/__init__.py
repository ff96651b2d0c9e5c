"""Declaration of the stage `lsc`."""
