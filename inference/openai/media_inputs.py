"""Inputs that are texts or images, as Jina's API writes them: `{"text"}`, `{"image"}`, `{"image_url"}`."""

from collections.abc import Sequence
from typing import Any

import msgspec

from inference import wire
from inference.openai.fields import invalid
from inference.openai.pictures import ImageUrl, Pictures


class MediaInput(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Exactly one of them. `image` is base64, a data URL or a URL."""

    text: str | None = None
    image: str | None = None
    image_url: str | ImageUrl | None = None


def media_inputs(given: Sequence[str | MediaInput], found: Pictures) -> list[Any]:
    """Fill `found` on the way. Raises: InvalidValue naming the place; RequestTooLarge."""
    return [_one(item, f"input[{at}]", found) for at, item in enumerate(given)]


def _one(item: str | MediaInput, place: str, found: Pictures) -> str | wire.Image:
    match item:
        case str():
            return item
        case MediaInput(text=str() as text, image=None, image_url=None):
            return text
        case MediaInput(text=None, image=str() as image, image_url=None):
            return found.add_base64(image, f"{place}.image")
        case MediaInput(text=None, image=None, image_url=str() as url):
            return found.add(url, f"{place}.image_url")
        case MediaInput(text=None, image=None, image_url=ImageUrl(url=url, detail=detail)):
            return found.add(url, f"{place}.image_url", detail)
    raise invalid(place, "it must have one of text, image and image_url")
