"""The live encoder and gallery, swapping them, and showing them."""
