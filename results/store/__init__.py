"""The store: its files, what they hold, and SQL over them."""
