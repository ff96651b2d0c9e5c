"""The code that a trial runs: its versions, and what has changed since."""
