"""Settings against the disk: what is refused before anything is loaded."""

import stat
from pathlib import Path

from crossfix.sharded_gallery_manifest import is_sharded
from service.errors import SettingsUnsafe
from service.guard.key_ring import KeyRing
from service.kept_images import refuse_open_folder
from service.settings import Settings
from service.settings_checks import may_rebuild


def refuse_unsafe_start(settings: Settings, keys: KeyRing | None) -> None:
    """The checks that look at the disk.

    Raises:
        SettingsUnsafe: a folder of rebuilds is missing or open to all, nobody may rebuild, or the
            gallery is of a kind that rebuilds cannot make.
    """
    folders = [("rebuild_roots", root) for root in settings.rebuild_roots]
    if settings.rebuild_recipes is not None:
        folders.append(("rebuild_recipes", settings.rebuild_recipes))
    for name, folder in folders:
        if not folder.is_dir():
            raise SettingsUnsafe(f"{name}: {folder} is not a folder", hint="make it, or correct it")
        if folder.resolve() == Path(folder.resolve().anchor):
            raise SettingsUnsafe(
                f"{name}: {folder} is the whole disk", hint="name the folder with the imagery"
            )
    if settings.keep_images is not None:
        refuse_open_folder(settings.keep_images)
    recipes = settings.rebuild_recipes
    if recipes is not None and recipes.stat().st_mode & stat.S_IWOTH:
        raise SettingsUnsafe(
            f"rebuild_recipes: anybody on this machine may write to {recipes}, and recipes may "
            "make the service read any address",
            hint=f"chmod o-w {recipes}",
        )
    if may_rebuild(settings) and is_sharded(settings.gallery):
        raise SettingsUnsafe(
            f"rebuilds are configured, but they make galleries of one piece and {settings.gallery} "
            "is a sharded one",
            hint="leave rebuild_roots and rebuild_recipes out; use `python -m index_builder`",
        )
    if may_rebuild(settings) and keys is not None and not keys.holds("admin"):
        raise SettingsUnsafe(
            f"rebuilds are configured but the keys file {settings.keys} has no admin key",
            hint="add one with: python -m service.keys create --scope admin",
        )
