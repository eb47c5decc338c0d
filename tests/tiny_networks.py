"""Overrides of the tiny recipe for every kind of network and tile transform."""

from tests.tiny_pairs import tiny

OUT = "height_px: 32, width_px: 128"
NONE = "{kind: none}"
TRANSFORMS = {
    "polar": f"{{kind: polar, {OUT}, stretch: false}}",
    "stretched polar": f"{{kind: polar, {OUT}, stretch: true}}",
    "affine": f"{{kind: affine_stn, {OUT}, guide_weight: 0.0}}",
    "similarity": f"{{kind: similarity_stn, {OUT}, guide_weight: 0.0}}",
    "stacked": "{kind: stacked_affine_stn, height_px: 56, width_px: 112}",
    "tps": f"{{kind: tps_stn, {OUT}, guide_weight: 0.0, lattice_rows: 6, lattice_columns: 10, "
           "bounded: false}",
    "bounded tps": f"{{kind: tps_stn, {OUT}, guide_weight: 0.0, lattice_rows: 4, "
                   "lattice_columns: 4, bounded: true}",
    "guided tps": f"{{kind: tps_stn, {OUT}, guide_weight: 1.0, lattice_rows: 6, "
                  "lattice_columns: 10, bounded: false}",
    "guided affine": f"{{kind: affine_stn, {OUT}, guide_weight: 0.5}}",
}  # fmt: skip
AGGREGATIONS = {
    "network": "{kind: network}",
    "average": "{kind: average}",
    "gem": "{kind: gem, power: 3.0}",
    "safa by mean": "{kind: safa, masks: 3, reduce: mean}",
    "safa by maximum": "{kind: safa, masks: 3, reduce: max}",
}


def network(
    *overrides, transform=NONE, aggregation=AGGREGATIONS["network"], sharing="all",
    shared_head=None, views="[ground]",
):  # fmt: skip
    """The tiny recipe with a network of this kind; 64-pixel tiles, 32 x 128 panoramas."""
    head = sharing == "all" if shared_head is None else shared_head
    return tiny(
        f"data.query_views={views}", "data.tile_px=64", f"model.tile_transform={transform}",
        f"model.aggregation={aggregation}", f"model.sharing={sharing}",
        f"model.shared_head={str(head).lower()}", *overrides,
    )  # fmt: skip
