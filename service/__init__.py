"""HTTP around one function: a photo in, ranked tiles and coordinates out."""
