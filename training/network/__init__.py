"""The parts of the network between the tile transform and the embedding."""
