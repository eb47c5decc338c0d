"""Trains, evaluates and exports cross-view encoders; the only package that imports torch."""
