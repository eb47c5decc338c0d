"""Rebuilding the gallery in a process of its own: orders, the builder, records of jobs."""
