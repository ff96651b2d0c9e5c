"""Mutation testing of the core: `make mutants`. See README.md."""
