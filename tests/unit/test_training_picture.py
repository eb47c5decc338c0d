"""The contact sheet of queries and their best tiles: frames, order, the right tile at the end."""

import numpy as np
import pytest
from PIL import Image

from tests.tiny_splits import scores_embedder, spec_of, split_of
from training.evaluation.picture import (
    CAPTION_PX,
    FRAME_PX,
    GAP_PX,
    HEIGHT_PX,
    LINE_PX,
    MAX_WIDTH_PX,
    RIGHT,
    SEMI,
    WRONG,
    chosen_queries,
    draw_top,
)
from training.evaluation.report import evaluate_split

CELL = HEIGHT_PX + 2 * FRAME_PX + GAP_PX  # from one square tile to the next
TOP = 2 * GAP_PX + LINE_PX  # of the first row of pictures


def draw(tmp_path, split, scores, **options):
    result = evaluate_split(split, scores_embedder(scores))
    path = tmp_path / "deep" / "sheet.png"
    draw_top(result, path, queries=options.pop("queries", 1), **options)
    return np.asarray(Image.open(path))


def frames(sheet, left=GAP_PX, top=TOP):
    """Frame colour and first colour channel of each picture of a row of squares."""
    found = []
    while left + CELL <= sheet.shape[1]:
        frame = tuple(sheet[top + 1, left + 20].tolist())
        if frame == (255, 255, 255):
            break
        found.append((frame, int(sheet[top + HEIGHT_PX // 2, left + CELL // 2, 0])))
        left += CELL
    return found


def test_right_wrong_and_semi_positive_frames(tmp_path):
    scores = [[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]]
    sheet = draw(tmp_path, split_of([[1, 4]], 7, semi=[[2]]), scores)
    (query, *tiles) = frames(sheet)
    assert query[0] not in (RIGHT, WRONG, SEMI)
    assert tiles == [(WRONG, 0), (RIGHT, 1), (SEMI, 2), (WRONG, 3), (RIGHT, 4)]


def test_the_right_tile_stands_at_the_end_when_it_was_not_found(tmp_path):
    scores = [[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]]
    sheet = draw(tmp_path, split_of([[5, 6]], 7), scores)
    assert frames(sheet)[1:] == [(WRONG, i) for i in range(5)] + [(RIGHT, 5)]
    assert frames(draw(tmp_path, split_of([[]], 7), scores))[1:] == [(WRONG, i) for i in range(5)]


def test_every_row_has_text_below_its_pictures(tmp_path):
    sheet = draw(tmp_path, split_of([[0], [1]], 7), np.eye(2, 7), queries=2)
    for row in range(2):
        top = TOP + row * (HEIGHT_PX + 2 * FRAME_PX + CAPTION_PX + GAP_PX)
        below = sheet[top + HEIGHT_PX + 2 * FRAME_PX : top + CELL - GAP_PX + CAPTION_PX]
        assert below.min() < 120
        assert frames(sheet, top=top)[0][1] == row


def test_panoramas_keep_their_shape_up_to_a_width(tmp_path):
    wide = split_of([[0]], 7, query_spec=spec_of("ground", 20, 200))
    sheet = draw(tmp_path, wide, np.eye(1, 7))
    second = GAP_PX + MAX_WIDTH_PX + 2 * FRAME_PX + GAP_PX
    assert frames(sheet, left=second)[0] == (RIGHT, 0)


def test_a_small_gallery_and_no_queries_still_give_a_picture(tmp_path):
    assert len(frames(draw(tmp_path, split_of([[0]], 2), [[1.0, 0.0]]))) == 3
    empty = draw(tmp_path, split_of([], 7), np.zeros((0, 7)), queries=3)
    assert empty.shape[0] >= LINE_PX


@pytest.mark.parametrize(("count", "wanted"), [(10, 4), (3, 8), (0, 2)])
def test_the_same_queries_are_drawn_every_time(count, wanted):
    first = chosen_queries(count, wanted, seed=0)
    assert first == chosen_queries(count, wanted, seed=0)
    assert first == sorted(set(first))
    assert len(first) == min(count, wanted)
