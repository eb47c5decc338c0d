"""How well photos with known places are found in a gallery."""
