"""What is done to satellite tiles before the network: polar transform, spatial transformers."""
