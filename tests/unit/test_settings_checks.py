"""Settings that are each valid and together unsafe: one sentence that names them, at the start."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.app import create_app
from service.errors import KeysUnusable, SettingsUnsafe
from service.guard.key_file import KeyFile, make_key, write_keys
from service.settings import Settings

NEEDED = {"encoder": "/data/encoder", "gallery": "/data/gallery"}
EVERYWHERE = {"host": "0.0.0.0"}
MAP = "https://tiles.example.org/{z}/{x}/{y}.png"

REFUSED = [
    ({"host": " "}, "host is empty"),
    (EVERYWHERE | {"rebuild_roots": "/imagery"}, "reachable from other machines"),
    (EVERYWHERE | {"rebuild_recipes": "/recipes"}, "reachable from other machines"),
    ({"host": "service.example.org", "rebuild_roots": "/imagery"}, "reachable from other"),
    (EVERYWHERE | {"keep_images": "/kept"}, "photos of strangers"),
    (EVERYWHERE | {"keep_images": "/kept", "keys": "/k", "localize_key": False}, "strangers"),
    ({"metrics_key": True}, "metrics_key"),
    ({"cors_origins": "https://example.org/"}, "not an origin"),
    ({"cors_origins": "https://example.org/page"}, "not an origin"),
    ({"cors_origins": "example.org"}, "not an origin"),
    ({"cors_origins": "null"}, "not an origin"),
    ({"cors_origins": "https://*.example.org"}, "not an origin"),
    ({"cors_origins": "https://Example.org"}, "not an origin"),
    ({"cors_origins": "*"}, "private to this machine"),
    ({"cors_origins": "*", "keys": "/k"}, "API keys"),
    (EVERYWHERE | {"cors_origins": "*", "keys": "/k"}, "API keys"),
    (EVERYWHERE | {"cors_origins": "*,https://example.org"}, "all of them"),
    ({"trusted_proxies": "*"}, "not an address"),
    ({"trusted_proxies": "proxy.example.org"}, "not an address"),
    ({"trusted_proxies": "10.0.0.1,0.0.0.0/0"}, "every address"),
    ({"trusted_proxies": "::/0"}, "every address"),
    ({"trusted_proxies": "0.0.0.0/1,128.0.0.0/1"}, "every address"),
    ({"trusted_proxies": "::/2,4000::/2,8000::/1"}, "every address"),
    ({"keep_images": "/data/gallery/kept"}, "gallery"),
    ({"keep_images": "/data"}, "gallery"),
    ({"keep_images": "/data/gallery/../encoder"}, "encoder"),
    ({"keep_images": "/kept", "rebuild_roots": "/imagery,/kept/today"}, "rebuild_roots"),
    ({"keep_images": "/recipes", "rebuild_recipes": "/recipes"}, "rebuild_recipes"),
    ({"keep_images": "/kept", "jobs": "/kept"}, "jobs"),
    ({"keep_images": "/kept", "keys": "/kept/keys.json"}, "keys"),
    ({"map_url": "https://example.org/{x}/{y}.png", "map_attribution": "x"}, "{z}"),
    ({"map_url": "https://example.org/{z}/{x}.png", "map_attribution": "x"}, "{y}"),
    ({"map_url": MAP}, "map_attribution"),
    ({"map_url": MAP, "map_attribution": " "}, "map_attribution"),
    ({"map_attribution": "x"}, "without map_url"),
    ({"map_url": "javascript:{z}{x}{y}", "map_attribution": "x"}, "http"),
    ({"map_url": "//example.org/{z}/{x}/{y}", "map_attribution": "x"}, "http"),
    ({"map_url": "https://[/{z}/{x}/{y}", "map_attribution": "x"}, "http"),
    ({"map_url": "https://me:pw@example.org/{z}/{x}/{y}", "map_attribution": "x"}, "user name"),
    ({"map_url": "https://{s}.example.org/{z}/{x}/{y}", "map_attribution": "x"}, "{s}"),
    ({"map_url": "https://münchen.de/{z}/{x}/{y}", "map_attribution": "x"}, "host"),
    ({"map_url": "https://a_b.example.org/{z}/{x}/{y}", "map_attribution": "x"}, "host"),
    ({"otlp_endpoint": "collector:4318"}, "otlp_endpoint"),
    ({"shard_timeout_s": 10, "deadline_s": 10}, "not below deadline_s"),
    ({"engine": "ray", "deadline_s": 1}, "not below deadline_s"),
    ({"otlp_endpoint": "file:///etc/passwd"}, "otlp_endpoint"),
    ({"deadline_s": 60}, "shutdown_s (30)"),
    ({"max_body_bytes": 2000, "max_batch_body_bytes": 1024}, "max_batch_body_bytes"),
]
ALLOWED = [
    EVERYWHERE,
    EVERYWHERE | {"rebuild_roots": "/imagery", "keys": "/k"},
    {"rebuild_roots": "/imagery"},
    {"host": "localhost", "rebuild_roots": "/imagery"},
    {"host": "::1", "rebuild_recipes": "/recipes"},
    {"host": "127.3.2.1", "keep_images": "/kept"},
    EVERYWHERE | {"keep_images": "/kept", "keys": "/k"},
    EVERYWHERE | {"cors_origins": "*"},
    {"cors_origins": "https://example.org,http://127.0.0.1:3000", "keys": "/k"},
    {"trusted_proxies": "10.0.0.0/8,127.0.0.1,fd00::/8"},
    {"map_url": MAP, "map_attribution": "someone"},
    {"otlp_endpoint": "https://collector.example.org/v1/traces"},
    {"deadline_s": 60, "shutdown_s": 60},
    {"keys": "/k", "metrics_key": True, "localize_key": False},
]


@pytest.mark.parametrize(("changes", "words"), REFUSED, ids=lambda value: str(value)[:60])
def test_refused_in_one_sentence(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**NEEDED, **changes)
    [problem] = refused.value.errors()
    assert problem["loc"] == ()
    assert words in problem["msg"]
    assert "\n" not in problem["msg"]
    assert any(name in problem["msg"] for name in changes)


@pytest.mark.parametrize("changes", ALLOWED, ids=str)
def test_allowed(changes: dict[str, object]) -> None:
    Settings(**NEEDED, **changes)


def at(tmp_path: Path, **changes: object) -> Settings:
    return Settings(encoder=tmp_path / "encoder", gallery=tmp_path / "gallery", **changes)


def write(path: Path, *scopes: str) -> Path:
    records = tuple(make_key(f"key {i}", scope)[1] for i, scope in enumerate(scopes))
    write_keys(path, KeyFile(keys=records))
    return path


def test_a_root_that_is_no_folder(tmp_path) -> None:
    (tmp_path / "file").touch()
    for root in ("nowhere", "file"):
        with pytest.raises(SettingsUnsafe, match="is not a folder"):
            create_app(at(tmp_path, rebuild_roots=(tmp_path / root,)))
    with pytest.raises(SettingsUnsafe, match="is not a folder"):
        create_app(at(tmp_path, rebuild_recipes=tmp_path / "nowhere"))


def test_the_whole_disk_is_no_root(tmp_path) -> None:
    (tmp_path / "link").symlink_to("/")
    for root in (Path("/"), tmp_path / "link"):
        with pytest.raises(SettingsUnsafe, match="whole disk"):
            create_app(at(tmp_path, rebuild_roots=(root,)))


def test_recipes_that_anybody_may_write(tmp_path) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    recipes.chmod(0o777)
    with pytest.raises(SettingsUnsafe, match="anybody"):
        create_app(at(tmp_path, rebuild_recipes=recipes))
    recipes.chmod(0o755)
    create_app(at(tmp_path, rebuild_recipes=recipes))


def test_rebuilds_need_somebody_who_may_start_them(tmp_path) -> None:
    keys = write(tmp_path / "keys.json", "localize")
    with pytest.raises(SettingsUnsafe, match="no admin key"):
        create_app(at(tmp_path, rebuild_roots=(tmp_path,), keys=keys))
    write(keys, "localize", "admin")
    create_app(at(tmp_path, rebuild_roots=(tmp_path,), keys=keys))


def test_a_keys_file_that_cannot_be_used(tmp_path) -> None:
    with pytest.raises(KeysUnusable, match="cannot be read"):
        create_app(at(tmp_path, keys=tmp_path / "nowhere.json"))
    keys = write(tmp_path / "keys.json", "admin")
    keys.chmod(0o644)
    with pytest.raises(KeysUnusable, match="open to others"):
        create_app(at(tmp_path, keys=keys))
