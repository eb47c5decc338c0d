"""Squares on the ground: where they lie, and which pixels they share."""
