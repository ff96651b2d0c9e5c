"""What a declaration is made of, and how a config becomes a trial."""
