"""Scripts whose rows are kept in `results/`."""
