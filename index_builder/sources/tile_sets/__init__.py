"""Tile pyramids: folders, archives and servers."""
