"""From imagery to shards: the same tiles, vectors and answers as in one piece."""

import numpy as np
import pytest

from crossfix.errors import InvalidParameter, PublishError
from crossfix.gallery import Disc, Gallery
from crossfix.geodesy import LonLat
from crossfix.sharded_gallery import ShardedGallery
from index_builder.build import BuildRequest, build_gallery
from index_builder.recipe import GalleryRecipe
from index_builder.sharding_verify import check_epoch
from index_builder.sources.spec import SourceSpec
from index_builder.verify import verify_gallery
from tests.tiny_encoder import write_geotiff, write_tiny_encoder

SHARDS = 3


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    write_tiny_encoder(folder / "encoder")
    write_geotiff(folder / "map.tif", size_px=(160, 160))
    recipe = GalleryRecipe(
        sources=(SourceSpec(location=str(folder / "map.tif"), licence="CC0-1.0"),),
        tile_sizes_m=(20.0, 30.0),
    )

    def run(out, **options):
        request = BuildRequest(
            encoder_dir=folder / "encoder", recipe=recipe, out=out, device="cpu", **options
        )
        return build_gallery(request)

    return run


def test_a_sharded_build_is_the_plain_one_cut(tmp_path, build):
    plain_report, report = build(tmp_path / "plain"), build(tmp_path / "sharded", shards=SHARDS)
    plain = Gallery.open(tmp_path / "plain")
    check_epoch(tmp_path / "sharded")
    with ShardedGallery.open(tmp_path / "sharded", strict=True) as sharded:
        manifest = sharded.manifest
        assert manifest.epoch == report.version
        assert manifest.content_hash == plain_report.manifest.content_hash
        assert manifest.tile_count == len(plain)
        queries = plain.vectors[::5].astype(np.float32)
        middle = Disc(LonLat(float(plain.tiles.lon.mean()), float(plain.tiles.lat.mean())), 40)
        for prior in (None, middle):
            expected = plain.search(queries, 12, prior=prior)
            found = sharded.search(queries, 12, prior=prior)
            assert found.rows.tolist() == expected.rows.tolist()
            assert found.scores.tolist() == expected.scores.tolist()
        row = len(plain) - 1
        assert sharded.picture(row) == plain.picture(row)
        for number, shard in enumerate(manifest.shards):
            verified = verify_gallery(tmp_path / "sharded" / shard.directory)
            assert verified.tiles == shard.tile_count == len(sharded.shards[number])


def test_a_second_build_is_a_second_epoch_and_old_ones_go(tmp_path, build):
    versions = [build(tmp_path, shards=SHARDS, keep=2).version for _ in range(3)]
    assert sorted(path.stem for path in (tmp_path / "epochs").iterdir()) == versions[1:]
    assert len(list((tmp_path / "shards" / "000" / "versions").iterdir())) == 2


def test_a_gallery_keeps_its_kind(tmp_path, build):
    build(tmp_path / "plain")
    with pytest.raises(PublishError, match="of one piece"):
        build(tmp_path / "plain", shards=2)
    build(tmp_path / "sharded", shards=2)
    with pytest.raises(PublishError, match="sharded gallery"):
        build(tmp_path / "sharded")


def test_more_shards_than_tiles_are_refused_before_any_work(tmp_path, build):
    with pytest.raises(InvalidParameter, match="cannot be cut into 5000 shards"):
        build(tmp_path / "many", shards=5000)
    assert not (tmp_path / "many").exists()
