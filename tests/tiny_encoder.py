"""Tiny deterministic artifacts for tests: an encoder of random filters, rasters, a gallery."""

import io
import tempfile
from pathlib import Path

import numpy as np
import onnx
import rasterio
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from rasterio.warp import transform as transform_points

from crossfix.encoder_writer import EncoderDescription, write_encoder
from crossfix.estimate import Calibration
from crossfix.view import ViewSpec

DIM = 32
CENTRE = (-98.0897, 30.1712)  # lon, lat; UTM zone 14 north
_CHANNELS, _POOL, _OPSET = 8, 8, 17


def write_tiny_encoder(
    directory: Path, *, seed: int = 0, name: str = "tiny", refuse_below: float = 0.0
) -> Path:
    """Writes a whole, valid encoder artifact and returns its directory.

    The satellite and drone views (32 x 32) share one model, so a crop of the imagery sent as a
    drone photo finds itself; ground photos (32 x 64) have their own. Another `seed` is another
    embedding space.
    """
    with tempfile.TemporaryDirectory() as folder:
        models = {
            "aerial.onnx": Path(folder, "aerial.onnx"),
            "ground.onnx": Path(folder, "ground.onnx"),
        }
        onnx.save(_model(32, 32, seed), models["aerial.onnx"])
        onnx.save(_model(32, 64, seed + 1000), models["ground.onnx"])
        write_encoder(
            directory,
            EncoderDescription(
                name=name,
                architecture="random filters, for tests",
                embedding_dim=DIM,
                opset=_OPSET,
                licence_weights="CC0-1.0",
                licence_data="none",
                recipe={"seed": seed},
                revision="test",
                evaluation=[],
            ),
            models=models,
            views=tiny_views(),
            calibration={view: _calibration(refuse_below) for view in ("ground", "drone")},
            golden_images={
                "golden/satellite.png": ("satellite", png(random_texture(48, 48, seed=7))),
                "golden/drone.png": ("drone", png(random_texture(48, 64, seed=8))),
                "golden/ground.png": ("ground", png(random_texture(48, 96, seed=9))),
            },
        )
    return directory


def tiny_views() -> dict:
    shared = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    return {
        "satellite": ViewSpec(
            view="satellite",
            model_file="aerial.onnx",
            height_px=32,
            width_px=32,
            projection="nadir",
            fit="squash",
            heading="north_up",
            **shared,
        ),
        "drone": ViewSpec(
            view="drone",
            model_file="aerial.onnx",
            height_px=32,
            width_px=32,
            projection="oblique",
            fit="center_crop",
            heading="any",
            **shared,
        ),
        "ground": ViewSpec(
            view="ground",
            model_file="ground.onnx",
            height_px=32,
            width_px=64,
            projection="equirectangular",
            fit="panorama_canvas",
            elevation_top_deg=45.0,
            elevation_bottom_deg=-45.0,
            heading="north_centre",
            **shared,
        ),
    }


def _calibration(refuse_below: float) -> Calibration:
    return Calibration(
        temperature=0.05,
        coefficients=(-4.0, 5.0, 0.5, 0.1),
        radius_share=0.5,
        refuse_below=refuse_below,
        sample_count=0,
        data="none: made up for tests",
    )


def _model(height: int, width: int, seed: int) -> onnx.ModelProto:
    """Two random convolutions, average pooling to a grid, centring, projection, L2 norm."""
    rng = np.random.default_rng(seed)
    cells = (height // _POOL) * (width // _POOL)
    weights = {
        "filters_1": rng.normal(0, 0.3, (_CHANNELS, 3, 3, 3)),
        "filters_2": rng.normal(0, 0.2, (_CHANNELS, _CHANNELS, 3, 3)),
        "projection": rng.normal(0, 1, (_CHANNELS * cells, DIM)),
        # A flat tile centres to zero; the offset gives it a direction all the same.
        "offset": rng.normal(0, 0.01, (1, DIM)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "filters_1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "filters_2"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node(
            "AveragePool", ["c"], ["d"], kernel_shape=[_POOL] * 2, strides=[_POOL] * 2
        ),
        helper.make_node("ReduceMean", ["d"], ["mean"], axes=[2, 3], keepdims=1),
        helper.make_node("Sub", ["d", "mean"], ["centred"]),
        helper.make_node("Flatten", ["centred"], ["flat"]),
        helper.make_node("MatMul", ["flat", "projection"], ["projected"]),
        helper.make_node("Add", ["projected", "offset"], ["raw"]),
        helper.make_node("ReduceL2", ["raw"], ["norm"], axes=[1], keepdims=1),
        helper.make_node("Div", ["raw", "norm"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, height, width])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", DIM])],
        [numpy_helper.from_array(value.astype(np.float32), key) for key, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def random_texture(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8 with structure at every scale and no two places alike."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cell in (4, 16, 64):
        small = rng.uniform(0, 255, (height // cell + 2, width // cell + 2, 3)).astype(np.uint8)
        large = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(large, np.float64)
    return np.clip((total / 3 - 128) * 1.7 + 128, 1, 254).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def jpeg(pixels: np.ndarray, quality: int = 92) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def write_geotiff(
    path: Path,
    *,
    crs: str = "EPSG:32614",
    centre: tuple = CENTRE,
    size_px: tuple = (400, 500),
    resolution_m: float = 0.5,
    seed: int = 0,
    pixels: np.ndarray | None = None,
    rotation_deg: float = 0.0,
    **profile,
) -> Path:
    """Writes a raster centred on (lon, lat): random RGB texture of `size_px` (height, width).

    `pixels` (H, W) or (H, W, bands) of any dtype replace the texture; `profile` goes to rasterio
    (nodata, tiled, photometric, ...). `resolution_m` is in the CRS's metres (degrees: at the
    equator's scale).
    """
    if pixels is None:
        pixels = random_texture(*size_px, seed=seed)
    bands = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    (x,), (y,) = transform_points("EPSG:4326", crs, [centre[0]], [centre[1]])
    unit = (
        resolution_m / 111320
        if rasterio.crs.CRS.from_user_input(crs).is_geographic
        else resolution_m
    )
    cos, sin = np.cos(np.radians(rotation_deg)) * unit, np.sin(np.radians(rotation_deg)) * unit
    across, down = bands.shape[2] / 2, bands.shape[1] / 2
    shape = rasterio.Affine(
        cos, sin, x - cos * across - sin * down, sin, -cos, y - sin * across + cos * down
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=bands.shape[2],
        height=bands.shape[1],
        count=len(bands),
        dtype=bands.dtype,
        crs=crs,
        transform=shape,
        **profile,
    ) as target:
        target.write(bands)
    return path


def build_test_gallery(
    root: Path,
    encoder_dir: Path,
    *,
    raster: Path | None = None,
    tile_size_m: float = 40.0,
    overlap: float = 0.5,
    seed: int = 0,
) -> Path:
    """Builds a gallery with `index_builder` over `raster` (default: a new random one)."""
    from index_builder.build import BuildRequest, build_gallery
    from index_builder.recipe import GalleryRecipe
    from index_builder.sources.spec import SourceSpec

    raster = raster or write_geotiff(root.parent / f"{root.name}-raster.tif", seed=seed)
    build_gallery(
        BuildRequest(
            encoder_dir=encoder_dir,
            recipe=GalleryRecipe(
                sources=(SourceSpec(location=str(raster)),),
                tile_sizes_m=(tile_size_m,),
                overlap=overlap,
            ),
            out=root,
        )
    )
    return root
