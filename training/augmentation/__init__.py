"""What is done to photo and tile at random, in step where it must be."""
