"""Safe decoding of images that a stranger uploads: format, size and frame are checked before a pixel is.

Called inside engine processes only, which have no network and one model to lose. Pure, no Django.
"""

import io
import warnings

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from inference import wire
from inference.errors import InvalidMedia

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")  # Pillow's names; no other decoder is tried
FORMAT_NAMES = "PNG, JPEG, WEBP or GIF"
MAX_PIXELS = (
    24_000_000  # decoded: 96 MB at four bytes a pixel, and as much again while it is scaled
)
MAX_JPEG_PIXELS = 32_000_000  # JPEG decodes to a half or less of its size at once
KEPT_SIDE = 2_048  # more than any processor here looks at
MAX_SIDE = 16_384
MIN_SIDE = 1
LOW_DETAIL_SIDE = 512  # Source: OpenAI's meaning of detail "low"
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I"})

ImageFile.LOAD_TRUNCATED_IMAGES = False
# What Pillow raises for files that are broken in one way or another.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    OverflowError,
    TypeError,
)


def decode(image: wire.Image, param: str = "image") -> Image.Image:
    """Give RGB pixels, the first frame, upright, on white.

    Raises: InvalidMedia when it is no image, damaged, or larger than the limits.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the size is ours to check
        try:
            with _open(image.data, param) as opened:
                side = LOW_DETAIL_SIDE if image.detail == "low" else KEPT_SIDE
                _check(opened, MAX_JPEG_PIXELS, param)
                opened.draft("RGB", (side, side))  # JPEG only
                _check(opened, MAX_PIXELS, param)
                return _pixels(opened, side)
        except Image.DecompressionBombError:
            raise InvalidMedia(
                f"the image has too many pixels; {MAX_PIXELS:,} are allowed", param=param
            ) from None
        except (*_BROKEN, MemoryError) as error:
            raise InvalidMedia("the image is damaged: it cannot be decoded", param=param) from error


def pixels(image: wire.Image) -> int:
    """Give the size of a picture by its header: what it took to decode it, at most."""
    with _open(image.data, "image") as opened:
        return min(opened.width * opened.height, MAX_PIXELS)


def _open(data: bytes, param: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise InvalidMedia(
            f"this is no image that can be read; use {FORMAT_NAMES}", param=param
        ) from error


def _check(opened: Image.Image, most: int, param: str) -> None:
    width, height = opened.size
    if not (min(width, height) >= MIN_SIDE and max(width, height) <= MAX_SIDE):
        raise InvalidMedia(
            f"the image has {width} x {height} pixels; a side may have {MAX_SIDE}", param=param
        )
    if width * height > most:
        raise InvalidMedia(
            f"the image has {width} x {height} pixels; {most:,} are allowed", param=param
        )
    if opened.mode not in MODES:
        raise InvalidMedia(f"images of mode {opened.mode} are not read", param=param)


def _pixels(opened: Image.Image, side: int) -> Image.Image:
    """Scale first: everything that follows costs what the small image costs."""
    opened.load()
    plain = _in_bytes(opened)
    if max(plain.size) > side:
        plain.thumbnail((side, side))
    return _on_white(ImageOps.exif_transpose(plain))


def _in_bytes(image: Image.Image) -> Image.Image:
    """Give a mode that can be scaled. 16 bits become 8; Pillow would cut them off at 255."""
    if image.mode in {"1", "P", "PA"}:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if not image.mode.startswith("I"):
        return image
    return image.point(lambda level: level * (1 / 256)).convert("L")


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    ground = Image.new("RGB", layer.size, "white")
    ground.paste(layer, mask=layer.getchannel("A"))
    return ground
