"""Effects integrated out given the hyperparameters."""
