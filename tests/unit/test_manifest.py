import json

import pytest

from crossfix.errors import EncoderCorrupt, GalleryCorrupt
from crossfix.gallery_manifest import CurrentVersion
from crossfix.manifest import (
    FileEntry,
    canonical_json,
    read_model,
    sha256_file,
    verify_files,
    write_json_atomic,
)


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_file(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_missing_short_and_altered_files_are_named(tmp_path):
    path = tmp_path / "vectors.f16"
    path.write_bytes(b"0123456789")
    entries = {"vectors.f16": FileEntry.of(path)}
    verify_files(tmp_path, entries, GalleryCorrupt)
    path.write_bytes(b"012345678X")
    with pytest.raises(GalleryCorrupt, match=r"vectors.f16 .* checksum"):
        verify_files(tmp_path, entries, GalleryCorrupt)
    path.write_bytes(b"01234")
    with pytest.raises(GalleryCorrupt, match="5 bytes instead of 10"):
        verify_files(tmp_path, entries, GalleryCorrupt)
    path.unlink()
    with pytest.raises(EncoderCorrupt, match="missing"):
        verify_files(tmp_path, entries, EncoderCorrupt)


def test_json_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "CURRENT.json"
    write_json_atomic(path, {"version": "a"})
    write_json_atomic(path, {"version": "b"})
    assert json.loads(path.read_text()) == {"version": "b"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["CURRENT.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"version": ""}', '{"version": "../../etc"}', '{"version": "a", "more": 1}', "[]"],
)
def test_bad_json_is_refused_with_its_path(tmp_path, text):
    path = tmp_path / "CURRENT.json"
    path.write_text(text)
    with pytest.raises(GalleryCorrupt, match=r"CURRENT\.json is not valid"):
        read_model(path, CurrentVersion, GalleryCorrupt)


def test_canonical_json_ignores_key_order():
    assert (
        canonical_json({"b": 1, "a": [1.5]})
        == '{"a":[1.5],"b":1}'
        == canonical_json({"a": [1.5], "b": 1})
    )
