"""Two classical ways to find a photo among tiles, so that an encoder's figures mean something.

Both see what a person sees: the photo, and the gallery's small pictures. Neither is trained.
"""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Float64 = NDArray[np.float64]
UInt8 = NDArray[np.uint8]

PHOTO_PX = 640
_BINS = (12, 6, 6)
_FEATURES = 2000
_RATIO = 0.75
_MIN_MATCHES = 4
_INLIER_PX = 5.0


def open_small(data: bytes) -> UInt8:
    """The image upright, (H, W, 3) RGB, at most `PHOTO_PX` on its longer side."""
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    image.thumbnail((PHOTO_PX, PHOTO_PX), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(image, np.uint8)


def score_colour_histograms(photos: Sequence[bytes], pictures: Sequence[bytes]) -> Float64:
    """(Q, N) intersection of hue-saturation-value histograms, 0..1.

    Swain and Ballard, "Color indexing" (1991), equation 4. Rotation does not change it.
    """
    of_photos = np.stack([_histogram(open_small(data)) for data in photos])
    of_pictures = np.stack([_histogram(open_small(data)) for data in pictures])
    return np.stack([np.minimum(row, of_pictures).sum(axis=1) for row in of_photos])


def _histogram(pixels: UInt8) -> Float64:
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 1, 2], None, list(_BINS), [0, 180, 0, 256, 0, 256])
    return np.asarray(counts / counts.sum(), np.float64).ravel()


def score_sift(photos: Sequence[bytes], pictures: Sequence[bytes]) -> Float64:
    """(Q, N) numbers of SIFT matches that agree on one similarity transform.

    Lowe, "Distinctive image features from scale-invariant keypoints" (2004), sections 7.1 (ratio
    test) and 7.3-7.4 (agreement, here by RANSAC).
    """
    sift = cv2.SIFT_create(nfeatures=_FEATURES)
    of_pictures = [_features(sift, data) for data in pictures]
    scores = np.zeros((len(photos), len(pictures)))
    for row, data in enumerate(photos):
        of_photo = _features(sift, data)
        scores[row] = [_count_inliers(of_photo, of_picture) for of_picture in of_pictures]
    return scores


_Features = tuple[Float64, NDArray[np.float32] | None]


def _features(sift: cv2.SIFT, data: bytes) -> _Features:
    grey = cv2.cvtColor(open_small(data), cv2.COLOR_RGB2GRAY)
    points, descriptors = sift.detectAndCompute(grey, None)
    return np.array([point.pt for point in points], np.float64), descriptors


def _count_inliers(photo: _Features, picture: _Features) -> int:
    if photo[1] is None or picture[1] is None or min(len(photo[1]), len(picture[1])) < 2:
        return 0
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(picture[1], photo[1], k=2)
    good = [first for first, second in pairs if first.distance < _RATIO * second.distance]
    if len(good) < _MIN_MATCHES:
        return 0
    cv2.setRNGSeed(0)
    _, inliers = cv2.estimateAffinePartial2D(
        np.stack([picture[0][match.queryIdx] for match in good]),
        np.stack([photo[0][match.trainIdx] for match in good]),
        ransacReprojThreshold=_INLIER_PX,
    )
    return 0 if inliers is None else int(inliers.sum())
