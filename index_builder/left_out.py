"""Which planned tiles are not in a gallery, and why: kept for updates and for people."""

import pyarrow as pa

LEFT_OUT_FILE = "left_out.parquet"
# `why` is empty where more than half of the tile held no data.
LEFT_OUT_SCHEMA = pa.schema(
    [
        ("tile_id", pa.string()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("size_m", pa.float64()),
        ("why", pa.string()),
    ]
)
