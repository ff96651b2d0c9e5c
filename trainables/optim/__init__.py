"""Update rules, and what is done to gradients before them."""
