"""What a step, an epoch and its metrics cost, one trial or many lanes; a worker's memory."""
