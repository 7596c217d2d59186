"""Images of strangers: what is read, and what is refused before it costs anything."""

import io
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from inference import images, wire
from inference.errors import InvalidMedia
from inference.node import memory


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def squares() -> Image.Image:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :, 0], pixels[20:, :30, 1], pixels[20:, 30:, 2] = 250, 250, 250
    return Image.fromarray(pixels)


def bomb(width: int, height: int) -> bytes:
    """Give a small PNG of very many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000), 9)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_it_reads_every_format(kind: str) -> None:
    read = images.decode(wire.Image(encoded(squares(), kind)))
    assert (read.mode, read.size) == ("RGB", (60, 40))
    difference = np.asarray(read, np.int16) - np.asarray(squares(), np.int16)
    assert np.median(np.abs(difference)) <= 8


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_it_reads_every_mode(mode: str) -> None:
    grey = Image.new("L", (8, 8), 128)
    made = {"I;16": lambda: Image.new("I;16", (8, 8), 128 * 256)}.get(
        mode, lambda: grey.convert("RGB").convert(mode)
    )()
    read = images.decode(wire.Image(encoded(made, _kind(mode))))
    assert read.mode == "RGB"
    assert abs(float(np.asarray(read).mean()) - 128) < 3


def _kind(mode: str) -> str:
    return "JPEG" if mode == "CMYK" else "PNG"


def test_what_is_transparent_is_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert np.asarray(images.decode(wire.Image(encoded(clear, "PNG")))).min() == 255


def test_it_takes_the_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert images.decode(wire.Image(data)).getpixel((0, 0)) == (255, 0, 0)


def test_a_photo_taken_sideways_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Source: EXIF, orientation: turn by 90 degrees
    data = encoded(squares(), "JPEG", exif=exif)
    assert images.decode(wire.Image(data)).size == (40, 60)


def test_low_detail_is_small() -> None:
    data = encoded(squares().resize((1500, 1000)), "JPEG")
    assert images.decode(wire.Image(data, "low")).size == (512, 341)
    assert images.decode(wire.Image(data, "high")).size == (1500, 1000)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_no_more_is_kept_than_a_model_looks_at(mode: str) -> None:
    """The largest image that is taken costs less than an engine's room for its computations."""
    data = encoded(squares().resize((4_800, 5_000)).convert(mode), "PNG", compress_level=1)
    command = """
import resource, sys
from inference import images, wire
image = wire.Image(sys.stdin.buffer.read())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(images.decode(image).size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", command], input=data, capture_output=True, check=True
    )
    size, _, grown_kib = done.stdout.decode().rpartition(" ")
    assert size == "(1966, 2048)"
    assert int(grown_kib) * 1024 < memory.ACTIVATIONS_BYTES


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "ICO"])
def test_it_refuses_other_formats(kind: str) -> None:
    with pytest.raises(InvalidMedia, match="PNG, JPEG, WEBP or GIF"):
        images.decode(wire.Image(encoded(squares(), kind)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_it_refuses_what_is_cut(kind: str) -> None:
    data = encoded(Image.effect_noise((200, 200), 90).convert("RGB"), kind)
    with pytest.raises(InvalidMedia) as caught:
        images.decode(wire.Image(data[: len(data) // 2]), param="messages")
    assert caught.value.param == "messages"


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"<svg/>", b"GIF89a"])
def test_it_refuses_what_is_no_image(data: bytes) -> None:
    with pytest.raises(InvalidMedia):
        images.decode(wire.Image(data))


@pytest.mark.parametrize("size", [(20_000, 20_000), (30_000, 8), (8_000, 8_000), (2**31 - 1, 2)])
def test_it_refuses_many_pixels_before_it_decodes_them(size: tuple[int, int]) -> None:
    image = wire.Image(bomb(*size))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidMedia, match="pixels"):
        images.decode(image)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
