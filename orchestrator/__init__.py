"""Where and when trials run.

In a notebook: `from gradsweep import plan, launch, debug`. They take the names and defaults of the
command line.
"""
