"""A sharded gallery served as one: asks the shards it must, puts their answers together."""

import itertools
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossfix.encoder import Encoder
from crossfix.errors import PriorOutsideGallery, TileNotFound
from crossfix.gallery import require_same_space
from crossfix.gallery_manifest import GalleryManifest, IndexKind
from crossfix.geodesy import TileId, tile_bounds
from crossfix.prior import Prior
from crossfix.sharded_gallery_fan_out import merge_results
from crossfix.sharded_gallery_manifest import EpochManifest
from crossfix.sharded_gallery_prior import touched
from crossfix.sharded_gallery_rows import ShardRows
from crossfix.vector_search import check_request
from service.errors import ShardsLost
from service.galleries.box import Box, pick_evenly
from service.galleries.map_tiles import SIDE_PX
from service.galleries.served import BoxTiles, Hits, Painted, Reach
from service.galleries.shards.callers import Calls, ShardCaller, Told
from service.galleries.shards.merged_facts import merged_coverage, merged_manifest
from service.galleries.shards.shard import ShardFacts, ShardHits
from service.galleries.shards.tile_rows import joined
from service.logs.log import EVENTS

Float32 = NDArray[np.float32]
# A map tile is put together of many pictures; but browsers send no photo while six of them wait.
_PAINT_S = 4.0
_LOG_AGAIN_S = 60.0
_HOMES = 100_000  # tiles of late answers whose shard is remembered: their pictures come next


class ShardedServed:
    """A `ServedGallery` over an epoch's shards. Rows count over all shards in their order.

    Closes its caller when nobody holds it any more: requests that were begun on an epoch end on it.
    """

    def __init__(self, epoch: EpochManifest, caller: ShardCaller) -> None:
        self.epoch, self._caller = epoch, caller
        self._rows = ShardRows(epoch.shards)
        self._homes: OrderedDict[str, int] = OrderedDict()
        self._homes_lock = threading.Lock()
        self._log_again_at: dict[int, float] = {}
        self._merged: tuple[int, GalleryManifest, dict[str, Any]] | None = None
        weakref.finalize(self, _close_aside, caller).atexit = False

    @property
    def shards_total(self) -> int:
        """Of the epoch."""
        return len(self.epoch.shards)

    @property
    def lost_shards(self) -> tuple[int, ...]:
        """Numbers of those that cannot be asked now."""
        return tuple(sorted(self._caller.lost))

    @property
    def manifest(self) -> GalleryManifest:
        """Of the epoch; sources and files are those of the shards that were open at any time."""
        return self._facts_merged()[0]

    @property
    def coverage(self) -> dict[str, Any]:
        """Where the known shards' tiles are."""
        return self._facts_merged()[1]

    @property
    def index_kind(self) -> IndexKind:
        """What searches the first known shard."""
        return self._some_facts().index_kind

    @property
    def index_fallback(self) -> str:
        """The first shard's that has one."""
        facts = sorted(self._caller.facts.items())
        return next((one.index_fallback for _, one in facts if one.index_fallback), "")

    def __len__(self) -> int:
        return self.epoch.tile_count

    def require_encoder(self, encoder: Encoder) -> None:
        """Refuses the encoder of another space."""
        require_same_space(
            f"gallery epoch {self.epoch.epoch}",
            encoder_name=self.epoch.encoder_name,
            space_id=self.epoch.embedding_space_id,
            encoder=encoder,
        )

    def search(
        self,
        embeddings: Float32,
        k: int,
        *,
        prior: Prior | None = None,
        timeout_s: float | None = None,
    ) -> Hits:
        """The k most similar tiles of all shards that answer; equal scores by the smaller row.

        Raises:
            InvalidParameter: an embedding of another shape, or not finite.
            PriorOutsideGallery: no tile's centre lies inside the prior.
            ShardsLost: none of the shards that may have such a tile answers.
        """
        embeddings = check_request(embeddings, k, dim=self.epoch.embedding_dim)
        asked = self._touched(prior)
        told = self._ask(
            "search", dict.fromkeys(asked, (embeddings, k, prior)), timeout_s=timeout_s
        )
        hits: dict[int, ShardHits] = {
            number: one for number, one in sorted(told.answers.items()) if one is not None
        }
        if not hits:
            self._require_all(told, "search")
            area = prior.describe() if prior else "the gallery"
            raise PriorOutsideGallery(
                f"no tile's centre lies in {area}",
                hint="GET /gallery tells the bounds; widen or drop the prior",
            )
        starts = self._rows.starts
        found = merge_results({n: one.found for n, one in hits.items()}, starts, 1, k)
        rows = found.rows[0]
        tiles = joined([one.tiles for one in hits.values()])
        gathered = np.concatenate([one.found.rows[0] + starts[n] for n, one in hits.items()])
        order = np.argsort(gathered, kind="stable")
        at = order[np.searchsorted(gathered[order], rows)]
        self._remember(zip((tiles.ids[i] for i in at.tolist()), rows.tolist(), strict=True))
        return Hits(found.rows, found.scores, tiles, at, self._reach(asked, told, prior))

    def row_of(self, tile_id: str) -> int:
        """The row of a tile; asks all shards, unless a late answer named it.

        Raises:
            TileNotFound: no shard has it.
            ShardsLost: none that answers has it, but some do not answer.
        """
        with self._homes_lock:
            if tile_id in self._homes:
                return self._homes[tile_id]
        told = self._ask("find_row", dict.fromkeys(range(self.shards_total), (tile_id,)))
        for number, row in sorted(told.answers.items()):
            if row is not None:
                return self._rows.of(number, row)
        self._require_all(told, "find the tile")
        raise TileNotFound(
            f"the gallery has no tile {tile_id!r}", hint="ids are in the matches of /localize"
        )

    def picture(self, row: int) -> bytes:
        """The small JPEG of a tile.

        Raises:
            InvalidParameter: no such row.
            ShardsLost: its shard does not answer.
        """
        number, local = self._rows.locate(row)
        told = self._ask("picture", {number: (local,)})
        self._require_all(told, "read the picture")
        return bytes(told.answers[number])

    def in_box(self, box: Box | None, limit: int) -> BoxTiles:
        """Tiles that reach into a box: first counted, then those that are shown are fetched."""
        asked = [
            number
            for number, shard in enumerate(self.epoch.shards)
            if box is None or box.overlaps(shard.bounds)
        ]
        counted = self._ask("count_in", dict.fromkeys(asked, (box,)))
        if not counted.answers:
            self._require_all(counted, "look into the box")
        numbers = sorted(counted.answers)
        ends = np.cumsum([0, *(counted.answers[number] for number in numbers)])
        picks = pick_evenly(int(ends[-1]), limit)
        wanted = {
            number: (box, picks[(picks >= ends[i]) & (picks < ends[i + 1])] - ends[i])
            for i, number in enumerate(numbers)
        }
        told = self._ask("tiles_in", wanted)
        failures = counted.failures | told.failures
        parts = [told.answers[number] for number in sorted(told.answers)]
        tiles = joined(parts)
        reach = self._reach(asked, Told(dict.fromkeys(set(asked) - set(failures)), failures))
        return BoxTiles(int(ends[-1]), tiles, np.arange(len(tiles)), reach)

    def paint(self, tile: TileId) -> Painted:
        """Every shard's imagery on the map tile, one over the other."""
        bounds = tile_bounds(tile)
        box = Box(west=bounds.west, south=bounds.south, east=bounds.east, north=bounds.north)
        asked = [n for n, shard in enumerate(self.epoch.shards) if box.overlaps(shard.bounds)]
        told = self._ask("paint", dict.fromkeys(asked, (tile,)), timeout_s=_PAINT_S)
        canvas = Image.new("RGBA", (SIDE_PX, SIDE_PX))
        for _, pixels in sorted(told.answers.items()):
            canvas.alpha_composite(Image.fromarray(pixels))
        return Painted(canvas, is_complete=not told.failures)

    def warm_up(self) -> None:
        """Shards do that when they open."""

    def close(self) -> None:
        """Lets go of the shards; may take seconds."""
        self._caller.close()

    def _ask(self, method: str, calls: Calls, *, timeout_s: float | None = None) -> Told:
        """Asks shards; those that fail and are not known to be lost are logged, but not each time.

        The caller logs lost ones.
        """
        told = self._caller.ask(method, calls, timeout_s=timeout_s)
        now = time.monotonic()
        for number in told.failures.keys() - self._caller.lost.keys():
            if now >= self._log_again_at.get(number, now):
                self._log_again_at[number] = now + _LOG_AGAIN_S
                fields = {"shard": number, "call": method, "reason": told.failures[number]}
                EVENTS.error("shard_failed", extra={"fields": fields})
        return told

    def _remember(self, homes: Iterable[tuple[str, int]]) -> None:
        with self._homes_lock:
            self._homes.update(homes)
            for tile_id in list(itertools.islice(self._homes, max(0, len(self._homes) - _HOMES))):
                del self._homes[tile_id]

    def _touched(self, prior: Prior | None) -> list[int]:
        """Numbers of the shards that may have a tile inside the prior."""
        asked, facts = touched(self.epoch.shards, prior), self._caller.facts
        if prior is None:
            return asked
        return [n for n in asked if n not in facts or facts[n].sketch.may_hold(prior)]

    def _reach(self, asked: Collection[int], told: Told, prior: Prior | None = None) -> Reach:
        shards, facts = self.epoch.shards, self._caller.facts
        seen: float = sum(shards[number].tile_count for number in told.answers)
        unseen: float = sum(shards[number].tile_count for number in told.failures)
        if prior is not None and unseen:
            hit = [number for number, one in told.answers.items() if one is not None]
            counted = self._ask("count_inside", dict.fromkeys(hit, (prior,)))
            seen = sum(counted.answers.values())
            # Nobody knows where the tiles of a shard are that was never open: all may lie inside.
            unseen = sum(
                facts[number].sketch.count_inside(prior)
                if number in facts
                else shards[number].tile_count
                for number in told.failures
            )
        return Reach(
            shards_total=len(shards),
            shards_asked=len(asked),
            shards_answered=len(told.answers),
            tiles_share=seen / (seen + unseen) if unseen else 1.0,
        )

    def _require_all(self, told: Told, what: str) -> None:
        if told.failures:
            raise ShardsLost(
                f"{len(told.failures)} of {self.shards_total} shards did not answer, so the "
                f"service could not {what}",
                hint="try again after the time in Retry-After; GET /readyz tells the shards",
            )

    def _some_facts(self) -> ShardFacts:
        return min(self._caller.facts.items())[1]

    def _facts_merged(self) -> tuple[GalleryManifest, dict[str, Any]]:
        """Made anew when another shard has come."""
        facts = dict(sorted(self._caller.facts.items()))
        if self._merged is None or self._merged[0] != len(facts):
            manifest = merged_manifest(self.epoch, facts)
            self._merged = (len(facts), manifest, merged_coverage(facts.values()))
        return self._merged[1:]


def _close_aside(caller: ShardCaller) -> None:
    """The last one to hold the gallery may be the event loop, which must not wait."""
    threading.Thread(target=caller.close, name="close-shards", daemon=True).start()
