"""Tiny but complete data sets in the layouts they are distributed in, quirks included."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

CITIES = {
    "Chicago": (41.88, -87.63),
    "NewYork": (40.76, -73.98),
    "SanFrancisco": (37.77, -122.42),
    "Seattle": (47.61, -122.33),
}
TILE_STRIDE_M, GRID = 36.5, 4  # tiles per side of a city
METRES_PER_DEG = 111_320.0


def picture(number, width, height, view=0):
    """Blocks whose colours are the place's own in every view, (height, width, 3) uint8."""
    place, own = np.random.default_rng(number), np.random.default_rng([number, view])
    cells = place.integers(30, 226, (4, 4, 3)) + own.integers(-20, 21, (4, 4, 3))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    return cells[rows][:, columns].astype(np.uint8)


def save(path, number, width, height, view=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(number, width, height, view)).save(path)


def write_lines(path, lines):
    """A list without a newline at its end, as VIGOR's are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def write_cvusa(root, *, train=6, val=4, places=True):
    """Numbers from 1; validation numbers lie between the training ones."""
    numbers = np.arange(1, train + val + 1)
    parts = {"val": numbers[1::2][:val], "train": np.setdiff1d(numbers, numbers[1::2][:val])}
    for part, chosen in parts.items():
        rows = []
        for number in chosen:
            names = [f"bingmap/19/{number:07d}.jpg", f"streetview/panos/{number:07d}.jpg"]
            save(root / names[0], number, 40, 40)
            save(root / names[1], number, 88, 16, view=1)
            rows.append(",".join([*names, f"annotations/{number:07d}.png"]))
        write_lines(root / f"splits/{part}-19zl.csv", rows)
    if places:
        rows = [f"{30 + n},{-90 - n},{30.001 + n},{-90.001 - n},{n}" for n in numbers]
        write_lines(root / "split_locations/all.csv", rows)
    return Path(root)


def write_cvact(root, *, train=5, val=4, test=6, cells=False):
    """Two neighbours of each split stand 3 m apart; the mat file counts from 1."""
    ids = [f"pano{i:02d}" for i in range(train + val + test)]
    utm = np.stack([690_000 + 40.0 * np.arange(len(ids)), np.full(len(ids), 6_090_000.0)], axis=1)
    for first in (0, train, train + val):
        utm[first + 1] = utm[first] + [3.0, 0.0]
    ends = (0, train, train + val, len(ids))
    train_i, val_i, test_i = (np.arange(a, b)[:, None] + 1 for a, b in pairwise(ends))
    root.mkdir(parents=True, exist_ok=True)
    names = np.array(ids, dtype=object)[:, None] if cells else np.array(ids)
    savemat(
        root / "ACT_data.mat",
        {
            "panoIds": names,
            "utm": utm,
            "trainSet": {"trainNum": train, "trainInd": train_i},
            "valSet": {"valNum": val, "valInd": val_i},
            "valSetAll": {"valNum": test, "valInd": test_i},
        },
    )
    for i, name in enumerate(ids):
        folder = root / ("ANU_data_small" if i < train + val else "ANU_data_test")
        save(folder / f"streetview/{name}_grdView.jpg", i, 52, 26, view=1)
        save(folder / f"satview_polish/{name}_satView_polish.jpg", i, 40, 40)
    return Path(root)


def write_vigor(root, *, rearranged=False, original=True, corrected=False):
    """Four cities of 16 tiles; two panoramas at each of the four inner tiles, others at none."""
    for number, (city, (lat, lon)) in enumerate(CITIES.items()):
        tiles = _tile_places(lat, lon)
        names = [f"satellite_{a!r}_{o!r}.png" for a, o in tiles]
        folder = root / (f"satellite/{city}" if rearranged else f"{city}/satellite")
        for i, name in enumerate(names):
            save(folder / name, 100 * number + i, 32, 32)
        panoramas = _panorama_places(tiles, np.random.default_rng(number))
        folder = root / (f"ground/{city}" if rearranged else f"{city}/panorama")
        for name, _, tile in panoramas:
            save(folder / name, 100 * number + tile, 64, 32, view=1)
        if original:
            _write_labels(root / "splits" / city, "", names, tiles, panoramas, lambda _: 0.114)
        if corrected:
            _write_labels(root / "splits__corrected" / city, "__corrected", names, tiles,
                          panoramas, zoom_20_resolution_m)  # fmt: skip
    return Path(root)


def zoom_20_resolution_m(lat):
    return 156543.034 * math.cos(math.radians(lat)) / 2**20


def _tile_places(lat, lon):
    step, narrow = TILE_STRIDE_M / METRES_PER_DEG, math.cos(math.radians(lat))
    return [
        (round(lat - row * step, 7), round(lon + column * step / narrow, 7))
        for row in range(GRID)
        for column in range(GRID)
    ]


def _panorama_places(tiles, rng):
    """(file, place, nearest tile), each within 12 m of its tile's centre."""
    found = []
    for tile in (5, 6, 9, 10, 5, 6, 9, 10):
        lat, lon = tiles[tile]
        north, east = (rng.uniform(-12, 12, 2) / METRES_PER_DEG).tolist()
        place = (round(lat + north, 7), round(lon + east / math.cos(math.radians(lat)), 7))
        found.append((f"id{len(found)}_{tile},{place[0]!r},{place[1]!r},.jpg", place, tile))
    return found


def _write_labels(folder, end, names, tiles, panoramas, resolution_m):
    lines = [_label(pano, names, tiles, resolution_m) for pano in panoramas]
    write_lines(folder / "satellite_list.txt", names)
    write_lines(folder / f"pano_label_balanced{end}.txt", lines)
    write_lines(folder / f"same_area_balanced_train{end}.txt", lines[:5])
    write_lines(folder / f"same_area_balanced_test{end}.txt", lines[5:])


def _label(panorama, names, tiles, resolution_m):
    name, (lat, lon), _ = panorama
    scale = METRES_PER_DEG / resolution_m(lat)
    offsets = [((t - lat) * scale, (o - lon) * scale * math.cos(math.radians(lat)))
               for t, o in tiles]  # fmt: skip
    nearest = sorted(range(len(tiles)), key=lambda i: math.hypot(*offsets[i]))[:4]
    fields = [f"{names[i]} {offsets[i][0]:.4f} {offsets[i][1]:.4f}" for i in nearest]
    return " ".join([name, *fields])


def write_university(root, *, distractors_160k=0, drone_photos=3):
    """Buildings 0001-0004 to train on (0003 never seen from the street), 0011-0014 to test.

    0013 and 0014 are in the galleries only; 0012 has no street photo; Google's folder of 0002 is
    empty on purpose.
    """
    for building in ("0004", "0002", "0003", "0001"):  # not in order, like a file system
        _save_building(root / "train", "", building, drone_photos, street=building != "0003")
        (root / "train/google" / building).mkdir(parents=True)
        if building != "0002":
            save(root / f"train/google/{building}/g-1.jpg", int(building), 30, 20, view=3)
    (root / "train/street/0003").mkdir()
    for building in ("0014", "0012", "0011", "0013"):
        _save_building(root / "test", "gallery_", building, drone_photos, building != "0012")
        if building in ("0011", "0012"):
            _save_building(root / "test", "query_", building, drone_photos, building != "0012")
    for i in range(distractors_160k):
        save(root / f"test/gallery_satellite_160k/d{i:05d}.jpg", 900 + i, 32, 32)
    return Path(root)


def _save_building(folder, part, building, drone_photos, street):
    number = int(building)
    save(folder / f"{part}satellite/{building}/{building}.jpg", number, 32, 32)
    for i in reversed(range(drone_photos)):
        save(folder / f"{part}drone/{building}/image-{i + 1:02d}.jpeg", number, 32, 32, view=10 + i)
    if street:
        for i in (2, 1):
            save(folder / f"{part}street/{building}/{i}.jpg", number, 30, 20, view=20 + i)
