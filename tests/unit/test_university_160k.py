"""The 160k challenge: answers written, refused, and images of a building that ask together."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

import training
from crossfix.errors import DataError
from tests.tiny_datasets import save, write_university
from training.__main__ import main
from training.datasets.subsplit import subsplit
from training.datasets.university1652 import University1652
from training.datasets.university_160k import open_challenge
from training.evaluation.answer import best_ten, check_answer, make_room, write_answer
from training.evaluation.picture import draw_top
from training.evaluation.report import evaluate_split, query_embeddings
from training.loop.checkpoint import RunState, save_best, save_recipe
from training.model import CrossViewEncoder
from training.recipe_file import load_recipe

RECIPES = Path(training.__file__).parent / "recipes"
CHANGES = (
    "data.dataset=university1652", "data.towns=null", "data.query_views=[drone, ground]",
    "data.ground_kind=street", "sampling.exclude_within_m=0", "sampling.strategy=random",
)  # fmt: skip
RECIPE = load_recipe(RECIPES / "tiny.yaml", CHANGES)
VIEWS = RECIPE.views()


def colours(images):
    """An embedding that knows the picture: mean colours of its quarters, unit-norm."""
    rows = []
    for i in range(len(images)):
        pixels = images.read(i).astype(float)
        rows.append(pixels.reshape(4, pixels.shape[0] // 4, 4, -1, 3).mean(axis=(1, 3)).ravel())
    found = np.stack(rows) - 128
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module", params=["test", "."])
def root(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("challenge")
    part = folder / request.param
    for i in range(14):
        save(part / f"gallery_satellite_160k/g{i:03d}.jpg", i, 40, 40)
    order = [9, 2, 11]
    for i in order:
        save(part / f"query_drone_160k/q{i}.jpeg", i, 40, 40, view=1)
    ending = ".jpeg" if request.param == "test" else ""
    (part / "query_drone_name.txt").write_text("".join(f"q{i}{ending}\n" for i in order))
    return folder


def challenge_at(root):
    return open_challenge(root, drone=VIEWS["drone"], satellite=VIEWS["satellite"])


def test_an_answer_has_ten_names_per_listed_query_best_first(root, tmp_path):
    challenge = challenge_at(root)
    best = best_ten(challenge, colours)
    archive = write_answer(tmp_path / "deep" / "answer.txt", best, challenge.stems())
    lines = (tmp_path / "deep" / "answer.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["g009", "g002", "g011"]
    assert [len(line.split("\t")) for line in lines] == [10] * 3
    check_answer(tmp_path / "deep" / "answer.txt", challenge)
    with zipfile.ZipFile(archive) as handed_in:
        assert handed_in.namelist() == ["answer.txt"]
        assert handed_in.read("answer.txt").decode().splitlines() == lines


@pytest.mark.parametrize(("change", "reason"), [
    (lambda lines: lines[:-1], "has 2 lines, but the list has 3 queries"),
    (lambda lines: [*lines, lines[0]], "has 4 lines"),
    (lambda lines: [lines[0].replace("\t", " "), *lines[1:]], "line 1 .* has 1 names"),
    (lambda lines: [*lines[:1], lines[1] + "\tg001", lines[2]], "line 2 .* has 11 names"),
    (lambda lines: [*lines[:2], lines[2].replace("g011", "g011.jpg")],
     "line 3 .*'g011.jpg', which is not in the gallery"),
    (lambda lines: ["\t".join(["g001"] * 10), *lines[1:]], "line 1 .* names an image twice"),
])  # fmt: skip
def test_what_is_no_answer_is_refused_with_its_line(root, tmp_path, change, reason):
    challenge, path = challenge_at(root), tmp_path / "answer.txt"
    write_answer(path, best_ten(challenge, colours), challenge.stems())
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(DataError, match=reason):
        check_answer(path, challenge)


def test_no_file_and_too_small_a_gallery_are_refused(root, tmp_path):
    with pytest.raises(DataError, match="cannot be read as text"):
        check_answer(tmp_path / "absent.txt", challenge_at(root))
    small = shutil.copytree(root, tmp_path / "small")
    for path in sorted(small.rglob("gallery_satellite_160k/*.jpg"))[9:]:
        path.unlink()
    with pytest.raises(DataError, match="has 9 images"):
        best_ten(challenge_at(small), colours)


def test_the_command_answers_with_a_run_and_checks_files(root, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    save_recipe(run, RECIPE)
    model = CrossViewEncoder(RECIPE.model, VIEWS)
    save_best(run, model.state_dict(), RunState())
    out = tmp_path / "answer.txt"
    arguments = ["--data", str(root), "--out", str(out)]
    assert main(["answer", "--checkpoint", str(run), *arguments]) == 0
    assert "3 queries in 14 images" in capsys.readouterr().out
    assert main(["check-answer", str(out), "--data", str(root)]) == 0
    assert "answers all 3 queries" in capsys.readouterr().out
    out.write_text("nothing\n")
    assert main(["check-answer", str(out), "--data", str(root)]) == 1
    assert "line 1" in capsys.readouterr().err


def test_an_answer_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    (tmp_path / "taken.zip").mkdir()
    for name, reason in (("answer.zip", "would be the archive"), ("folder", "Is a directory"),
                         ("file/answer.txt", "cannot be written"),
                         ("taken.txt", "Is a directory")):  # fmt: skip
        command = ["answer", "--checkpoint", str(tmp_path / "no run"), "--data", "no data",
                   "--out", str(tmp_path / name)]  # fmt: skip
        assert main(command) == 1
        assert reason in capsys.readouterr().err
        with pytest.raises(DataError, match=reason):
            write_answer(tmp_path / name, np.zeros((1, 10), int), ["a"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "taken.zip"]
    assert (tmp_path / "file").read_text() == "kept"


def test_a_former_answer_stays_until_there_is_a_new_one(tmp_path):
    path = tmp_path / "answer.txt"
    path.write_text("former")
    make_room(path)
    assert path.read_text() == "former"
    assert not (tmp_path / "answer.zip").exists()


@pytest.fixture(scope="module")
def building_split(tmp_path_factory):
    root = write_university(tmp_path_factory.mktemp("data") / "University")
    data = University1652.open(root, VIEWS, mode="correct")
    (split,) = data.evaluation("drone-to-satellite-multi")
    return split


def test_photos_of_a_building_ask_together_by_their_mean(building_split, tmp_path):
    split = building_split
    assert (len(split.queries), len(split.positives), len(split.query_groups)) == (6, 2, 2)
    assert [split.positives.of(i).tolist() for i in range(2)] == [[0], [1]]
    assert "together" in split.protocol
    found, single = query_embeddings(split, colours), colours(split.queries)
    for row, group in enumerate(([0, 1, 2], [3, 4, 5])):
        mean = single[group].mean(axis=0)
        np.testing.assert_allclose(found[row], mean / np.linalg.norm(mean), atol=1e-6)
    result = evaluate_split(split, colours)
    assert result.ranking.ranks.tolist() == [0, 0]
    draw_top(result, tmp_path / "top.png", queries=2)
    assert (tmp_path / "top.png").stat().st_size > 1000


def test_a_group_goes_on_asking_with_the_photos_it_has_left(building_split):
    kept = np.array([True, False, True, False, False, False])
    part = subsplit(building_split, queries=kept, gallery=np.ones(4, bool))
    assert (len(part.queries), len(part.positives)) == (2, 1)
    assert part.query_groups.of(0).tolist() == [0, 1]
    assert part.positives.of(0).tolist() == [0]
    assert part.image_of_query(0) == 0


def test_street_photos_may_ask_together_too(tmp_path):
    root = write_university(tmp_path / "University")
    data = University1652.open(root, VIEWS, mode="correct")
    (split,) = data.evaluation("street-to-satellite-multi")
    assert len(split.positives) == 1  # the other test building was never seen from the street
