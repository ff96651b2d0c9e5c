"""Rows into a store, and questions to one."""
