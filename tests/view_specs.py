"""Views as an encoder would describe them, for tests that need no encoder."""

from crossfix.view import ViewSpec


def ground_view(height_px, width_px):
    return ViewSpec(
        view="ground",
        model_file="m.onnx",
        height_px=height_px,
        width_px=width_px,
        projection="equirectangular",
        fit="panorama_canvas",
        elevation_top_deg=45,
        elevation_bottom_deg=-60,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        heading="north_centre",
    )


def drone_view(side_px):
    return ViewSpec(
        view="drone",
        model_file="m.onnx",
        height_px=side_px,
        width_px=side_px,
        projection="oblique",
        fit="center_crop",
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.25, 0.3),
        heading="any",
    )
