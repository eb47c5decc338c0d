"""What a good developer writes in an afternoon: FastAPI, timm and torch, numpy over the gallery.

    python -m benchmarks.naive_service --encoder encoders/demo --gallery GALLERY --port 8300

The same architecture, input size and gallery as the real service, with random weights (speed does
not depend on them). Only for comparison, and the only place outside `training` that needs torch.
"""

import argparse
import ast
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
from torchvision import transforms

from crossfix.encoder_manifest import MANIFEST_FILE, EncoderManifest
from crossfix.errors import EncoderCorrupt
from crossfix.gallery import Gallery, current_version
from crossfix.manifest import read_model


def make_app(encoder: Path, gallery: Path, view: str) -> FastAPI:
    """The whole service."""
    manifest = read_model(encoder / MANIFEST_FILE, EncoderManifest, EncoderCorrupt)
    name, _, rest = manifest.architecture.partition(" ")
    choices = ast.literal_eval(rest) if rest else {}
    model = timm.create_model(name, pretrained=False, num_classes=0, **choices).eval()
    spec = manifest.view(view)
    transform: Callable[[Image.Image], torch.Tensor] = transforms.Compose(
        [
            transforms.Resize((spec.height_px, spec.width_px)),
            transforms.ToTensor(),
            transforms.Normalize(spec.mean, spec.std),
        ]
    )
    version = current_version(gallery)
    tiles = Gallery.open(gallery, version=version).tiles
    stored = np.fromfile(gallery / "versions" / version / "vectors.f16", "<f2")
    vectors = stored.reshape(len(tiles.ids), -1).astype(np.float32)
    app = FastAPI()

    @app.get("/readyz")
    def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/localize")
    def localize(image: UploadFile) -> dict[str, object]:
        picture = Image.open(io.BytesIO(image.file.read())).convert("RGB")
        with torch.inference_mode():
            features = model(transform(picture)[None])
            embedding = torch.nn.functional.normalize(features)[0].numpy()
        scores = vectors @ embedding
        best = np.argsort(-scores)[:10]
        return {
            "matches": [
                {
                    "tile_id": tiles.ids[int(row)],
                    "score": float(scores[row]),
                    "lat": float(tiles.lat[row]),
                    "lon": float(tiles.lon[row]),
                }
                for row in best
            ]
        }

    return app


def main() -> int:
    """Serves until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.naive_service")
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument("--view", default="ground")
    parser.add_argument("--port", type=int, default=8300)
    options = parser.parse_args()
    app = make_app(options.encoder, options.gallery, options.view)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
