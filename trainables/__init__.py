"""What a trial is: models, tasks, optimizers, epochs and probes; arrays in, arrays out."""
