"""Where on this server things of the gallery are."""

from urllib.parse import quote


def picture_url(tile_id: str, version: str, root_path: str) -> str:
    """A tile picture's address; naming the version lets it be cached for ever."""
    return f"{root_path}/tiles/{quote(tile_id)}?v={quote(version)}"
