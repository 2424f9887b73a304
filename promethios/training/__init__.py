"""Training: packing, the objective, DeepSpeed's configuration, and the trainer."""
