"""What is in a gallery, on one screen, on a map and for a GIS."""
