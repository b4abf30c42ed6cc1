"""Training: the loop, the update rule, checkpoints, and what a run leaves behind."""
