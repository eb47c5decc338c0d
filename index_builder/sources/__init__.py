"""Imagery as square tiles: one protocol, and everything that speaks it."""
