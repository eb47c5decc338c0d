"""Seeded procedural towns, rendered as satellite imagery, street panoramas and drone photos."""
