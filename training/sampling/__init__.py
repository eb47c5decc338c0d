"""Which pairs share a batch: conflicts, neighbours, similarity, and the filling of batches."""
