"""What is minimised: losses of whole batches of features, and what they learn themselves."""
