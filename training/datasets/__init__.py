"""Data sets in the layouts they are distributed in, read into one form."""
