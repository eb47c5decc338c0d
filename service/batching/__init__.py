"""Bounded queues before the workers."""
