import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from crossfix.metrics import average_precision, ranks_of_first_positive

matrices = npst.arrays(np.float64, (3, 7), elements=st.integers(-3, 3).map(float))
masks = npst.arrays(np.bool_, (3, 7))


@given(scores=matrices, positives=masks)
def test_rank_against_a_plain_loop(scores, positives):
    for row, mask, rank in zip(
        scores, positives, ranks_of_first_positive(scores, positives), strict=True
    ):
        if not mask.any():
            assert rank == 7
            continue
        best = max(value for value, is_positive in zip(row, mask, strict=True) if is_positive)
        worse = sum(
            value >= best and not is_positive for value, is_positive in zip(row, mask, strict=True)
        )
        assert rank == worse


@given(scores=matrices, positives=masks)
def test_making_scores_equal_never_helps(scores, positives):
    flat = np.zeros_like(scores)
    has_positive = positives.any(axis=1)
    before = ranks_of_first_positive(scores, positives)[has_positive]
    after = ranks_of_first_positive(flat, positives)[has_positive]
    assert (after >= before).all()


@given(scores=matrices, positives=masks, seed=st.integers(0, 99))
def test_gallery_order_does_not_matter(scores, positives, seed):
    order = np.random.default_rng(seed).permutation(7)
    np.testing.assert_array_equal(
        ranks_of_first_positive(scores, positives),
        ranks_of_first_positive(scores[:, order], positives[:, order]),
    )
    assert average_precision(scores[0], positives[0]) == average_precision(
        scores[0][order], positives[0][order]
    )
