"""Images that a request names by URL: fetched here, where the operator allows it, and nowhere else."""

import asyncio

from django.conf import settings

from inference.errors import InvalidMedia, RequestTooLarge, UnsupportedParameter
from inference.openai.pictures import MAX_IMAGE_BYTES, MAX_TOTAL_BYTES, Pictures

AT_ONCE = 8  # of one request
_Budget = list[int]


async def fetched(pictures: Pictures) -> dict[int, bytes]:
    """Give the bytes of remote images by their number.

    Raises: UnsupportedParameter where it is not allowed; InvalidMedia naming the image; RequestTooLarge.
    """
    if not pictures.remote:
        return {}
    if not settings.HUB_REMOTE_IMAGES:
        raise _not_allowed(pictures.places[min(pictures.remote)])
    gate, left = asyncio.Semaphore(AT_ONCE), [MAX_TOTAL_BYTES]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {
                number: group.create_task(_one(url, pictures.places[number], gate, left))
                for number, url in pictures.remote.items()
            }
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return {number: task.result() for number, task in tasks.items()}


async def _one(url: str, place: str, gate: asyncio.Semaphore, left: _Budget) -> bytes:
    # Its HTTP client is a fifth of a second of imports, which few hubs ever need.
    from inference.safe_fetch import FetchFailed, Rules, fetch  # noqa: PLC0415

    rules = Rules(MAX_IMAGE_BYTES, networks=settings.HUB_FETCH_NETWORKS)
    async with gate:
        try:
            data = await fetch(url, rules)
        except FetchFailed as error:
            raise InvalidMedia(f"the image could not be fetched: {error}", param=place) from None
    left[0] -= len(data)
    if left[0] < 0:
        raise RequestTooLarge(f"the images are over the limit of {MAX_TOTAL_BYTES} bytes together")
    return data


def _not_allowed(place: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"Unsupported parameter: '{place}': this server fetches no images; send a data URL.",
        param=place,
    )
