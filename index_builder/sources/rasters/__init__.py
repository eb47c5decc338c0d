"""Rasters and mosaics of them, cut into tiles block by block."""
