"""Tables of image files with places."""
