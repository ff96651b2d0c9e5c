"""What everything in `trainables` stands on."""
