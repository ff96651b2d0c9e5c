"""A launch from its command to its end: plan, start, compiles, driver, and its rivals."""
