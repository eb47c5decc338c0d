"""Everything a user can cause, as named errors.

    CrossfixError
    ├── ImageError ── EmptyImage, UnsupportedImageFormat, UnreadableImage, ImageTooLarge
    ├── InvalidParameter ── UnknownView, PriorOutsideGallery
    ├── EncoderError ── EncoderNotFound, EncoderCorrupt, DeviceUnavailable
    ├── GalleryError ── GalleryNotFound, GalleryCorrupt, EncoderGalleryMismatch, TileNotFound
    └── SourceError, DataError, RecipeError, PublishError

The message is one sentence: what was found and where; the hint says what to do. Nothing here
knows HTTP: `service.errors` holds the one table from these classes to status codes.
"""

from typing import ClassVar


class CrossfixError(Exception):
    """Base of all errors a user can cause; `code` is stable and machine-readable."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ImageError(CrossfixError):
    """The photo cannot be used."""

    code = "image_error"


class EmptyImage(ImageError):
    """No bytes were given."""

    code = "image_empty"


class UnsupportedImageFormat(ImageError):
    """The bytes are not an image of an accepted format."""

    code = "image_format_unsupported"


class UnreadableImage(ImageError):
    """The bytes start like an image but cannot be decoded to the end."""

    code = "image_unreadable"


class ImageTooLarge(ImageError):
    """More bytes or pixels than allowed."""

    code = "image_too_large"


class InvalidParameter(CrossfixError):
    """A parameter is out of its range or contradicts another."""

    code = "parameter_invalid"


class UnknownView(InvalidParameter):
    """The encoder has no such view."""

    code = "view_unknown"


class PriorOutsideGallery(InvalidParameter):
    """No tile of the gallery lies inside the geographic prior."""

    code = "prior_outside_gallery"


class EncoderError(CrossfixError):
    """The encoder artifact cannot be used."""

    code = "encoder_error"


class EncoderNotFound(EncoderError):
    """There is no encoder artifact at the path."""

    code = "encoder_not_found"


class EncoderCorrupt(EncoderError):
    """A file of the encoder artifact is missing, altered or gives other numbers than promised."""

    code = "encoder_corrupt"


class DeviceUnavailable(EncoderError):
    """The asked-for device cannot run the encoder."""

    code = "device_unavailable"


class GalleryError(CrossfixError):
    """The gallery artifact cannot be used."""

    code = "gallery_error"


class GalleryNotFound(GalleryError):
    """There is no gallery, or no such version of it, at the path."""

    code = "gallery_not_found"


class GalleryCorrupt(GalleryError):
    """A file of the gallery version is missing, altered or contradicts its manifest."""

    code = "gallery_corrupt"


class EncoderGalleryMismatch(GalleryError):
    """The gallery was embedded by another encoder."""

    code = "encoder_gallery_mismatch"


class TileNotFound(GalleryError):
    """The gallery has no tile of this id."""

    code = "tile_not_found"


class SourceError(CrossfixError):
    """Imagery for a gallery cannot be read."""

    code = "source_error"


class DataError(CrossfixError):
    """A data set or table is missing or malformed."""

    code = "data_error"


class RecipeError(CrossfixError):
    """A training recipe has an unknown, missing or impossible value."""

    code = "recipe_error"


class PublishError(CrossfixError):
    """A new artifact version could not be made live; the old one still is."""

    code = "publish_error"
