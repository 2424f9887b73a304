"""The training data: a documented world with latent causes, and the files made from it."""
