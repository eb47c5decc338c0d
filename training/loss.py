"""Symmetric InfoNCE over a batch of pairs."""

from torch import Tensor, arange
from torch.nn import functional


def symmetric_info_nce(
    query: Tensor, tile: Tensor, scale: Tensor, *, label_smoothing: float
) -> Tensor:
    """Mean of the cross-entropies of finding each query's tile and each tile's query.

    Sample4Geo, ICCV 2023, section 3.1 (InfoNCE: van den Oord et al. 2018; symmetric: CLIP 2021).

    Args:
        query: (B, D) features, any length.
        tile: (B, D), row i is the match of query i; all other rows count as negatives.
        scale: inverse temperature, scalar.
    """
    query, tile = functional.normalize(query, dim=-1), functional.normalize(tile, dim=-1)
    logits = scale * query @ tile.T
    target = arange(len(query), device=query.device)
    forth = functional.cross_entropy(logits, target, label_smoothing=label_smoothing)
    back = functional.cross_entropy(logits.T, target, label_smoothing=label_smoothing)
    return (forth + back) / 2
