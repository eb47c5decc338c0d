"""`python -m service.documents docs`: writes docs/openapi.json and docs/settings.md anew."""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from service.app import create_app
from service.settings import Settings

SETTINGS_HEAD = """# Settings of the service

Each is an environment variable and a flag of `python -m service` (`--max-batch` for
`CROSSFIX_MAX_BATCH`); flags win. A wrong value is refused at start with one line that names it.
In Kubernetes set `enableServiceLinks: false`, or a Service called `crossfix` makes the cluster
inject its own `CROSSFIX_PORT`.

Written by `python -m service.documents docs`; do not edit.

| variable | default | range | meaning |
|---|---|---|---|
"""


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document; its version is the API's, not the build's."""
    document = create_app(Settings(encoder=Path("encoder"), gallery=Path("gallery"))).openapi()
    document["info"]["version"] = "1"
    return document


def openapi_text() -> str:
    """The same as it stands in docs/openapi.json."""
    return json.dumps(openapi_document(), indent=2, sort_keys=True) + "\n"


def settings_text() -> str:
    """All settings as a Markdown table."""
    properties = Settings.model_json_schema()["properties"]
    rows = []
    for name, field in Settings.model_fields.items():
        rows.append(
            f"| `CROSSFIX_{name.upper()}` | {_default(field.default)} | {_range(properties[name])} "
            f"| {field.description} |"
        )
    return SETTINGS_HEAD + "\n".join(rows) + "\n"


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "(required)"
    return "(none)" if value in (None, "", ()) else f"`{value}`"


def _range(schema: dict[str, Any]) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema]
    if limits:
        return ", ".join(limits)
    kinds = [schema, *schema.get("anyOf", []), schema.get("items", {})]
    named = [str(kind.get("format", kind.get("type"))) for kind in kinds if "type" in kind]
    choices = schema.get("enum", [])
    return ", ".join(choices) or ", ".join(dict.fromkeys(k for k in named if k != "null"))


def main(folder: Path) -> None:
    """Writes both files."""
    (folder / "openapi.json").write_text(openapi_text(), encoding="utf-8")
    (folder / "settings.md").write_text(settings_text(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
