"""What would run: trials, packs, and what the store holds already."""
