"""Imagery in, gallery artifact out: sources, tiling, embedding, publishing, checking."""
