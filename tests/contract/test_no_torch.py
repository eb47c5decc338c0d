"""The service answers a photo in a process where torch cannot be imported."""

import os
import subprocess
import sys
from pathlib import Path

from tests.service_world import jpeg, make_world

SCRIPT = """
import asyncio, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "timm"}:
            raise ImportError(f"{name} is not part of the service")

sys.meta_path.insert(0, Blocker())
import httpx
from service.app import create_app
from service.settings import Settings

async def main():
    app = create_app(Settings(encoder=sys.argv[1], gallery=sys.argv[2], device="cpu"))
    async with app.router.lifespan_context(app), httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://x") as client:
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.05)
        with open(sys.argv[3], "rb") as photo:
            answer = await client.post("/localize?view=drone", content=photo.read())
    print(answer.status_code, answer.json()["matches"][0]["tile_id"])
    assert not {"torch", "torchvision", "timm"} & set(sys.modules)

asyncio.run(asyncio.wait_for(main(), 60))
"""


def test_the_service_needs_no_torch(tmp_path) -> None:
    world = make_world(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(jpeg(9))
    finished = subprocess.run(
        [
            sys.executable,
            "-c",
            SCRIPT,
            world.encoder_path,
            world.gallery_path,
            tmp_path / "photo.jpg",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["200", "made-up/9"]
