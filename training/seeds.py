"""Seeds that follow from counters, so that nothing depends on what was drawn before."""

import numpy as np


def seed_of(*counters: int) -> int:
    """One well mixed number, 0..2^63, of a seed and counters; zeros at the end do not count."""
    return int(np.random.SeedSequence(counters).generate_state(1, np.uint64)[0] >> np.uint64(1))
