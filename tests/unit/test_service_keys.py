"""API keys: the command, the file at rest, and the ring that the running service asks."""

import json
import os
import stat
from datetime import date
from pathlib import Path

import pytest

from service.errors import KeysUnusable, Unauthorized
from service.guard.key_file import KEY_PATTERN, KeyFile, hash_key, make_key, read_keys, write_keys
from service.guard.key_ring import LOOK_S, KeyRing
from service.keys import main

DAY = date(2030, 5, 17)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make(path: Path, *arguments: str, capsys) -> str:
    code = main(["create", "--file", str(path), "--name", "anna", "--scope", "admin", *arguments])
    assert code == 0
    return capsys.readouterr().out


def fill(path: Path, *records) -> None:
    write_keys(path, KeyFile(keys=records))


def test_create_prints_the_key_once_and_keeps_only_its_hash(tmp_path, capsys) -> None:
    path = tmp_path / "keys.json"
    printed = make(path, capsys=capsys)
    key = printed.strip()
    assert printed == f"{key}\n"
    assert KEY_PATTERN.fullmatch(key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    secret = key.split("_", 2)[2]
    assert secret not in text
    record = read_keys(path)[0].keys[0]
    assert (record.name, record.scopes, record.sha256) == ("anna", ("admin",), hash_key(key))
    assert KeyRing(path).find(key) == record
    assert os.listdir(tmp_path) == ["keys.json"]


def test_keys_differ_and_are_long() -> None:
    keys = {make_key("n", "localize")[0] for _ in range(100)}
    assert len(keys) == 100
    assert {len(key.split("_", 2)[2]) for key in keys} == {43}  # 256 bits in base64


def test_a_loose_umask_opens_nothing_and_is_put_back(tmp_path, capsys) -> None:
    before = os.umask(0)
    try:
        make(tmp_path / "keys.json", capsys=capsys)
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


def test_list_shows_names_and_no_hash_and_revoke_takes_away(tmp_path, capsys) -> None:
    path = tmp_path / "keys.json"
    key = make(path, "--expires", "2999-01-02", capsys=capsys).strip()
    main(["create", "--file", str(path), "--name", "bo", "--scope", "localize"])
    capsys.readouterr()
    assert main(["list", "--file", str(path)]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[-1] for line in shown.splitlines()] == ["anna", "bo"]
    assert "2999-01-02" in shown
    assert hash_key(key) not in shown
    assert main(["revoke", "--file", str(path), "anna"]) == 0
    assert [record.name for record in read_keys(path)[0].keys] == ["bo"]
    assert main(["revoke", "--file", str(path), read_keys(path)[0].keys[0].id]) == 0
    assert read_keys(path)[0].keys == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "--name", "anna", "--scope", "admin"], "already"),
        (["create", "--name", "bo", "--scope", "admin", "--expires", "2020-01-01"], "is over"),
        (["create", "--name", "a\nb", "--scope", "admin"], "not usable"),
        (["create", "--name", "", "--scope", "admin"], "not usable"),
        (["revoke", "nobody"], "no key of name"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_1(tmp_path, capsys, arguments, words) -> None:
    path = tmp_path / "keys.json"
    make(path, capsys=capsys)
    before = path.read_bytes()
    assert main([*arguments, "--file", str(path)]) == 1
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert words in complaint
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_one_line(tmp_path, capsys) -> None:
    path = tmp_path / "nowhere" / "keys.json"
    assert main(["create", "--file", str(path), "--name", "a", "--scope", "admin"]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert main(["list", "--file", str(path)]) == 1
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o602, 0o777])
def test_a_file_open_to_others_is_refused(tmp_path, mode) -> None:
    path = tmp_path / "keys.json"
    fill(path)
    path.chmod(mode)
    with pytest.raises(KeysUnusable, match="open to others"):
        KeyRing(path)


def test_a_group_may_read_it_as_kubernetes_mounts_secrets(tmp_path) -> None:
    path = tmp_path / "keys.json"
    fill(path)
    path.chmod(0o440)
    KeyRing(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"format": 2, "keys": []}',
        '{"format": 1, "keys": [], "more": 1}',
        '{"format": 1, "keys": [{"id": "x"}]}',
        '{"format": 1, "keys": "\\ud800"}',
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path, text) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeysUnusable, match="not valid") as refused:
        read_keys(path)
    assert "\n" not in str(refused.value)


def test_a_folder_or_a_pipe_is_no_keys_file(tmp_path) -> None:
    with pytest.raises(KeysUnusable, match="cannot be read"):
        read_keys(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeysUnusable, match="not a plain file"):
        read_keys(tmp_path / "pipe")


def test_two_keys_of_one_name_or_id_are_refused(tmp_path) -> None:
    record = make_key("anna", "admin")[1]
    text = json.dumps({"keys": [json.loads(record.model_dump_json())] * 2})
    path = tmp_path / "keys.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeysUnusable, match="same id"):
        read_keys(path)


def test_the_ring_tells_unknown_malformed_and_expired_keys_apart(tmp_path) -> None:
    path = tmp_path / "keys.json"
    key, record = make_key("anna", "localize", DAY)
    fill(path, record)
    today = [DAY]
    ring = KeyRing(path, today=lambda: today[0])
    assert ring.find(key) == record
    other, _ = make_key("anna", "localize")
    wrong_secret = key[:-1] + ("A" if key[-1] != "A" else "B")
    for given, reason in [(other, "unknown"), (wrong_secret, "unknown"), ("hello", "malformed")]:
        with pytest.raises(Unauthorized) as refused:
            ring.find(given)
        assert refused.value.reason == reason
        assert given not in str(refused.value)
    today[0] = date(2030, 5, 18)
    with pytest.raises(Unauthorized) as refused:
        ring.find(key)
    assert refused.value.reason == "expired"
    with pytest.raises(Unauthorized) as refused:
        ring.find(wrong_secret)
    assert refused.value.reason == "unknown", "only who has the key learns that it expired"


def test_admin_includes_localize_and_expired_admins_do_not_count(tmp_path) -> None:
    admin, reader = make_key("a", "admin", DAY)[1], make_key("b", "localize")[1]
    assert (admin.opens("localize"), admin.opens("admin")) == (True, True)
    assert (reader.opens("localize"), reader.opens("admin")) == (True, False)
    path = tmp_path / "keys.json"
    fill(path, admin, reader)
    assert KeyRing(path, today=lambda: DAY).holds("admin")
    assert not KeyRing(path, today=lambda: date(2031, 1, 1)).holds("admin")
    assert KeyRing(path, today=lambda: date(2031, 1, 1)).holds("localize")


def test_a_changed_file_is_seen_within_a_second(tmp_path) -> None:
    path, clock = tmp_path / "keys.json", Clock()
    (one, first), (two, second) = make_key("one", "admin"), make_key("two", "admin")
    fill(path, first)
    ring = KeyRing(path, clock=clock)
    fill(path, second)
    assert ring.find(one) == first, "not yet looked at"
    clock.now += LOOK_S
    assert ring.find(two) == second
    with pytest.raises(Unauthorized):
        ring.find(one)
    fill(path, first)
    ring.look_again(at_once=True)
    assert ring.find(one) == first


@pytest.mark.parametrize("harm", ["damage", "open"])
def test_a_file_that_goes_bad_keeps_the_old_keys_and_is_logged_once(tmp_path, caplog, harm) -> None:
    path, clock = tmp_path / "keys.json", Clock()
    key, record = make_key("anna", "admin")
    fill(path, record)
    ring = KeyRing(path, clock=clock)
    if harm == "damage":
        path.write_text("{")
    else:
        path.chmod(0o644)
    for _ in range(5):
        clock.now += LOOK_S
        assert ring.find(key) == record
    assert [r.getMessage() for r in caplog.records] == ["keys_refused"]
    assert "keys.json" in ring.problem
    other, fresh = make_key("bo", "admin")
    fill(path, fresh)
    clock.now += LOOK_S
    assert ring.find(other) == fresh
    assert ring.problem == ""


def test_of_a_deleted_file_nobody_has_a_key(tmp_path, caplog) -> None:
    path, clock = tmp_path / "keys.json", Clock()
    key, record = make_key("anna", "admin")
    fill(path, record)
    ring = KeyRing(path, clock=clock)
    path.unlink()
    for _ in range(3):
        clock.now += LOOK_S
        with pytest.raises(Unauthorized):
            ring.find(key)
    assert ring.problem
    assert [r.getMessage() for r in caplog.records] == ["keys_refused"]
    fill(path, record)
    clock.now += LOOK_S
    assert ring.find(key) == record
    assert ring.problem == ""
