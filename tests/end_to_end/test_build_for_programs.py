"""`--progress json`, `--within` and `--stop-with-stdin`: the builder as a program starts it."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import rasterio

from crossfix.gallery import current_version
from tests.tiny_encoder import write_geotiff, write_tiny_encoder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "encoder")


@pytest.fixture
def root(tmp_path):
    write_geotiff(tmp_path / "root" / "a.tif", size_px=(128, 128))
    return tmp_path / "root"


def start(verb, *words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "index_builder", verb, *map(str, words)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run(verb, *words):
    process = start(verb, *words)
    out, err = process.communicate(timeout=120)
    return process.returncode, [json.loads(line) for line in out.splitlines()], err


def words(encoder, source, out, *more, tile_m=20, overlap=0.5):
    return ("--encoder", encoder, "--source", source, "--tile-size-m", tile_m, "--overlap",
            overlap, "--out", out, "--device", "cpu", "--progress", "json", *more)  # fmt: skip


def test_a_build_an_update_and_failures_are_lines_of_json(tmp_path, encoder, root):
    out = tmp_path / "gallery"
    code, events, err = run("build", *words(encoder, root / "a.tif", out, "--within", root))
    assert code == 0, err
    kinds = [event["event"] for event in events]
    assert kinds[0] == "planning"
    assert kinds[-1] == "published"
    tiles = next(event for event in reversed(events) if event["event"] == "embedding")
    assert tiles["done"] == tiles["total"] > 0
    assert {"tiles_per_s", "eta_s", "resumed"} <= set(tiles)
    steps = [event["name"] for event in events if event["event"] == "step"]
    assert steps[:3] == ["embedded", "assembled", "indexed"]
    assert steps[-2:] == ["current_replaced", "pruned"]
    assert events[-1]["version"] == current_version(out)
    update = ("--encoder", encoder, "--gallery", out, "--device", "cpu", "--progress", "json")
    code, events, err = run("update", *update)
    assert (code, events[-1]["event"]) == (0, "unchanged"), err
    assert events[-1]["version"] == current_version(out)
    changes = tmp_path / "changes.json"
    changes.write_text(json.dumps({"remove": ["nobody"]}))
    code, events, err = run("update", *update, "--changes", changes)
    assert code == 2
    assert events[-1]["event"] == "failed"
    assert events[-1]["code"] == "parameter_invalid"
    assert "nobody" in events[-1]["message"]
    assert "it has a" in events[-1]["hint"]
    assert "nobody" in err
    code, events, _ = run("build", *words(encoder, tmp_path / "none.tif", tmp_path / "other"))
    assert (code, [event["event"] for event in events]) == (1, ["planning", "failed"])


def test_changes_and_flags_do_not_mix(tmp_path, encoder):
    (tmp_path / "changes.json").write_text("{}")
    code, events, err = run("update", "--encoder", encoder, "--gallery", tmp_path / "none",
                            "--changes", tmp_path / "changes.json", "--reread")  # fmt: skip
    assert (code, events) == (2, [])
    assert "cannot be combined" in err


def test_the_end_of_stdin_stops_a_build_that_can_be_resumed(tmp_path, encoder):
    raster = write_geotiff(tmp_path / "large.tif")
    told = words(encoder, raster, tmp_path / "gallery", "--stop-with-stdin", tile_m=30,
                 overlap=0.95)  # fmt: skip
    process = start("build", *told)
    for line in process.stdout:
        parts = (tmp_path / "gallery").glob(".building-*/parts/*.arrow")
        if json.loads(line).get("done", 0) and any(parts):
            break
    process.stdin.close()
    process.stdin = None
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert json.loads(out.splitlines()[-1]) == {"event": "interrupted"}
    assert "interrupted" in err
    assert list((tmp_path / "gallery").glob(".building-*/parts/*.arrow"))


def test_a_builder_nobody_listens_to_ends(tmp_path, encoder):
    """Its reader is killed: stdin ends and stdout is a broken pipe at the same moment."""
    raster = write_geotiff(tmp_path / "large.tif")
    told = words(encoder, raster, tmp_path / "gallery", "--stop-with-stdin", tile_m=30,
                 overlap=0.95)  # fmt: skip
    process = start("build", *told)
    process.stdout.readline()
    process.stdin.close()
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=30) != 0


def test_ctrl_c_works_even_where_a_shell_had_it_ignored(tmp_path, encoder):
    raster = write_geotiff(tmp_path / "large.tif")
    told = words(encoder, raster, tmp_path / "gallery", "--stop-with-stdin", tile_m=30,
                 overlap=0.95)  # fmt: skip
    process = start("build", *told, preexec_fn=_ignore_sigint)
    for line in process.stdout:
        if json.loads(line)["event"] == "embedding":
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 1


def _ignore_sigint():
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Trap:
    """A server that counts who comes."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.visits = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                visitor, _ = self._socket.accept()
            except OSError:
                return
            self.visits += 1
            visitor.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)


@pytest.fixture
def trap():
    one = Trap()
    yield one
    one.close()


def vrt(source):
    return (
        '<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:4326</SRS><GeoTransform>8,1e-5,'
        "0,47,0,-1e-5</GeoTransform>"
        + "".join(
            f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename>{source}'
            f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
            for band in (1, 2, 3)
        )
        + "</VRTDataset>"
    )


def wms(address):
    return (
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>http://{address}/${{z}}/${{x}}/${{y}}.png'
        "</ServerUrl></Service><DataWindow><UpperLeftX>-20037508.34</UpperLeftX><UpperLeftY>"
        "20037508.34</UpperLeftY><LowerRightX>20037508.34</LowerRightX><LowerRightY>-20037508.34"
        "</LowerRightY><TileLevel>2</TileLevel></DataWindow><Projection>EPSG:3857</Projection>"
        "<BlockSizeX>256</BlockSizeX><BlockSizeY>256</BlockSizeY><BandsCount>3</BandsCount>"
        "</GDAL_WMS>"
    )


def attacks(root, outside, trap):
    """Files inside the root that would have something else read."""
    web = f"/vsicurl/http://{trap.address}/a.tif"
    secret = write_geotiff(outside / "secret.tif", size_px=(64, 64))
    (root / "vrt.tif").write_text(vrt(secret))
    (root / "vrt_web.tif").write_text(vrt(web))
    (root / "wms.tif").write_text(wms(trap.address))
    (root / "wcs.jp2").write_text(
        f"<WCS_GDAL><ServiceURL>http://{trap.address}/?</ServiceURL><CoverageName>a"
        "</CoverageName></WCS_GDAL>"
    )
    (root / "list.txt").write_text(f"http://{trap.address}/a.tif\n")
    (root / "list_vsi.txt").write_text(f"{web}\n")
    (root / "list_up.txt").write_text("../outside/secret.tif\n")
    (root / "passwd.csv").write_text("file,lat,lon,size_m\n/etc/passwd,47,8,50\n")
    (root / "up.csv").write_text("file,lat,lon,size_m\n../outside/secret.tif,47,8,50\n")
    (root / "link.tif").symlink_to(secret)
    write_geotiff(root / "tagged.tif", size_px=(64, 64))
    with rasterio.open(root / "tagged.tif", "r+") as raster:
        raster.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=web)
    return sorted(path.name for path in root.iterdir() if path.name != "a.tif")


def test_no_attack_reads_outside_or_asks_the_network(tmp_path, encoder, root, trap):
    # One process for all: each costs seconds of imports.
    names = attacks(root, tmp_path / "outside", trap)
    code = (
        "import sys, json; from index_builder.__main__ import main\n"
        "for name in sys.argv[2:]:\n"
        "    words = json.loads(sys.argv[1])\n"
        "    words[words.index('SOURCE')] = name\n"
        "    code = main(words)\n"
        "    assert code == 1, (name, code)\n"
    )
    told = [
        "build",
        *map(str, words(encoder, "SOURCE", tmp_path / "gallery", "--within", root, tile_m=5)),
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(told), *(str(root / name) for name in names)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [event for event in events if event["event"] == "failed"]
    assert len(failed) == len(names)
    assert {event["code"] for event in failed} == {"source_error"}
    assert not [event for event in events if event["event"] in ("embedding", "published")]
    assert trap.visits == 0
    assert "root:x:0" not in done.stdout + done.stderr


@pytest.mark.parametrize("ending", ["ovr", "msk"])
def test_an_overview_or_mask_that_is_a_vrt_is_not_followed(tmp_path, encoder, root, trap, ending):
    """GDAL opens these by itself, with any driver it knows."""
    (root / f"a.tif.{ending}").write_text(vrt(f"/vsicurl/http://{trap.address}/a.tif"))
    told = words(encoder, root / "a.tif", tmp_path / "gallery", "--within", root)
    code, events, err = run("build", *told)
    assert trap.visits == 0
    assert (code, events[-1]["event"]) in [(0, "published"), (1, "failed")], err


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_kernel_saw_no_file_outside_being_opened(tmp_path, encoder, root):
    outside = tmp_path / "outside"
    secret = write_geotiff(outside / "secret.tif", size_px=(64, 64))
    (root / "a.tif.ovr").write_text(vrt(secret))
    trace = tmp_path / "trace"
    told = words(encoder, root / "a.tif", tmp_path / "gallery", "--within", root)
    subprocess.run(
        ["strace", "-f", "-o", str(trace), "-e", "trace=open,openat,openat2,connect",
         sys.executable, "-m", "index_builder", "build", *map(str, told)],
        cwd=ROOT, capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    text = trace.read_text(errors="replace")
    assert "a.tif" in text
    assert "secret.tif" not in text
    assert "AF_INET" not in text
