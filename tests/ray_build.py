"""What the test of the Ray engine runs in a process of its own: a cluster, a build, a killing."""

import json
import os
import sys
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from ray.cluster_utils import Cluster

from index_builder.build import BuildRequest, build_gallery
from index_builder.embedding import parts
from index_builder.recipe import GalleryRecipe
from index_builder.sources.spec import SourceSpec

OBJECT_STORE_BYTES = 100 << 20
PART_TILES = 4  # many parts of a small raster
# A dead node is noticed within two seconds instead of half a minute.
HASTY = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}


def request(folder: Path, out: str, **options: object) -> BuildRequest:
    """A build of the raster the test has left in the folder."""
    recipe = GalleryRecipe(
        sources=(SourceSpec(location=str(folder / "map.tif")),),
        tile_sizes_m=(20.0,),
        overlap=0.75,
    )
    return BuildRequest(
        encoder_dir=folder / "encoder", recipe=recipe, out=folder / out, device="cpu", readers=1,
        threads=1, **options,
    )  # fmt: skip


def main(folder: Path, raylets: int, kill_at_tile: int) -> None:
    """Builds with Ray; SIGKILLs a raylet once so many tiles are done, if any."""
    parts.PART_TILES = PART_TILES
    node = {"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={**node, "include_dashboard": False, "_system_config": HASTY},
    )
    others = [cluster.add_node(**node) for _ in range(raylets - 1)]
    killed: list[int] = []

    def on_progress(progress: object) -> None:
        if kill_at_tile and not killed and progress.done >= kill_at_tile:
            killed.append(progress.done)
            cluster.remove_node(others[0], allow_graceful=False)

    try:
        report = build_gallery(
            request(folder, "ray", engine="ray", ray_address=cluster.address),
            on_progress=on_progress,
        )
    finally:
        cluster.shutdown()
    told = {"version": report.version, "killed_at": killed, "tiles": report.stats.tiles}
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
