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
MAX_PIXELS = 32_000_000  # decoded: 128 MB at four bytes a pixel
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
                _check(opened, param)
                return _pixels(opened, image.detail)
        except Image.DecompressionBombError:
            raise InvalidMedia(
                f"the image has too many pixels; {MAX_PIXELS:,} are allowed", param=param
            ) from None
        except (*_BROKEN, MemoryError) as error:
            raise InvalidMedia("the image is damaged: it cannot be decoded", param=param) from error


def _open(data: bytes, param: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise InvalidMedia(
            f"this is no image that can be read; use {FORMAT_NAMES}", param=param
        ) from error


def _check(opened: Image.Image, param: str) -> None:
    width, height = opened.size
    if not (min(width, height) >= MIN_SIDE and max(width, height) <= MAX_SIDE):
        raise InvalidMedia(
            f"the image has {width} x {height} pixels; a side may have {MAX_SIDE}", param=param
        )
    if width * height > MAX_PIXELS:
        raise InvalidMedia(
            f"the image has {width} x {height} pixels; {MAX_PIXELS:,} are allowed", param=param
        )
    if opened.mode not in MODES:
        raise InvalidMedia(f"images of mode {opened.mode} are not read", param=param)


def _pixels(opened: Image.Image, detail: str) -> Image.Image:
    if detail == "low":
        opened.draft("RGB", (LOW_DETAIL_SIDE, LOW_DETAIL_SIDE))  # JPEG decodes it small at once
    opened.load()
    flat = _on_white(ImageOps.exif_transpose(_in_bytes(opened)))
    if detail == "low":
        flat.thumbnail((LOW_DETAIL_SIDE, LOW_DETAIL_SIDE))
    return flat


def _in_bytes(image: Image.Image) -> Image.Image:
    """Bring 16 bits a channel to 8; Pillow's own conversion would cut them off at 255."""
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
