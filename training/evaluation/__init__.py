"""How well queries find their tiles, on every data set, and what the scores mean."""
