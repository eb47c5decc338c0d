"""From files of embedded parts to the files of a gallery version."""
