"""The training loop: loading, the contrastive step, checkpoints, what people see of it."""
