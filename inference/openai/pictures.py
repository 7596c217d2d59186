"""Images inside a request: data URLs become bytes here, other URLs wait for whoever may fetch them.

Used by the chat and embedding endpoints; pure. What the bytes hold is checked where they are decoded.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from inference import wire
from inference.errors import RequestTooLarge, UnsupportedParameter
from inference.openai.fields import invalid

MAX_IMAGES = 64  # of one request
MAX_IMAGE_BYTES = 20 * 1024 * 1024  # Source: OpenAI's limit of one image
MAX_TOTAL_BYTES = 48 * 1024 * 1024  # of one request: it travels in one frame
MAX_URL_CHARS = 2048  # of an http(s) URL
IMAGE_TOKENS = 600  # a guess for the limits, before an engine has counted
TYPES = "png, jpeg, webp or gif"
_DATA = re.compile(r"data:image/(?:png|jpe?g|webp|gif)(?:;[a-z0-9=._-]+)*;base64,", re.IGNORECASE)
_REMOTE = re.compile(r"https?://", re.IGNORECASE)

Url = Annotated[str, Meta(min_length=1)]
Detail = Literal["auto", "low", "high"]
Part = TypeVar("Part")


class ImageUrl(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    url: Url
    detail: Detail | None = None


@dataclass
class Pictures:
    """The images of one request in their order: where each was found, and what is still to fetch."""

    places: list[str] = field(default_factory=list)
    remote: dict[int, str] = field(default_factory=dict)  # number of the image: its URL

    def __len__(self) -> int:
        return len(self.places)

    def add(self, url: str, place: str, detail: Detail | None = None) -> wire.Image:
        """Give the image, still empty if its URL is a remote one.

        Raises: InvalidValue naming `place`; RequestTooLarge.
        """
        if len(self.places) == MAX_IMAGES:
            raise invalid(place, f"a request may hold {MAX_IMAGES} images")
        data = _bytes_of(url, place)
        if data is None:
            self.remote[len(self.places)] = url
        self.places.append(place)
        return wire.Image(data or b"", detail or "auto")

    def add_base64(self, text: str, place: str) -> wire.Image:
        """Take bare base64 too. Raises: as `add`."""
        if text[:5].lower() == "data:" or _REMOTE.match(text):
            return self.add(text, place)
        return self.add(f"data:image/png;base64,{text}", place)

    def refuse(self) -> UnsupportedParameter:
        """Make the error for a model that sees no images; it names the first of them."""
        place = self.places[0]
        return UnsupportedParameter(
            f"Unsupported parameter: '{place}': this model reads text only.", param=place
        )


def filled(
    messages: Sequence[wire.ChatMessage], fetched: Mapping[int, bytes]
) -> list[wire.ChatMessage]:
    """Put fetched bytes where empty images are. Raises: RequestTooLarge."""
    left = iter(filled_parts([part for message in messages for part in message.parts], fetched))
    return [
        msgspec.structs.replace(message, parts=[next(left) for _ in message.parts])
        for message in messages
    ]


def filled_parts(
    parts: Sequence[Part | wire.Image], fetched: Mapping[int, bytes]
) -> list[Part | wire.Image]:
    """Do as `filled`, for inputs that are no messages. Raises: RequestTooLarge."""
    numbers = iter(range(MAX_IMAGES))
    full = [
        wire.Image(fetched.get(next(numbers), part.data), part.detail)
        if isinstance(part, wire.Image)
        else part
        for part in parts
    ]
    if sum(len(part.data) for part in full if isinstance(part, wire.Image)) > MAX_TOTAL_BYTES:
        raise RequestTooLarge(f"the images are over the limit of {MAX_TOTAL_BYTES} bytes together")
    return full


def decode_base64(text: str, place: str) -> bytes:
    """Raises: InvalidValue; RequestTooLarge."""
    if len(text) > MAX_IMAGE_BYTES * 4 // 3 + 4:
        raise RequestTooLarge(f"an image is over the limit of {MAX_IMAGE_BYTES} bytes", param=place)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(place, "the image is not valid base64") from None
    if not data:
        raise invalid(place, "the image is empty")
    return data


def _bytes_of(url: str, place: str) -> bytes | None:
    """Give the bytes of a data URL, or None for a URL that somebody must fetch."""
    if _REMOTE.match(url):
        if len(url) > MAX_URL_CHARS:
            raise invalid(place, f"a URL may have {MAX_URL_CHARS} characters")
        return None
    prefix = _DATA.match(url[:256])
    if prefix is None:
        raise invalid(place, f"use a data URL (data:image/png;base64,...) of {TYPES}, or https://")
    return decode_base64(url[prefix.end() :], place)
