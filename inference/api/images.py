"""Images that a request names by URL: off, until an operator allows to fetch them."""

from inference.errors import UnsupportedParameter
from inference.openai.pictures import Pictures


async def fetched(pictures: Pictures) -> dict[int, bytes]:
    """Give the bytes of remote images by their number. Raises: UnsupportedParameter."""
    for number in pictures.remote:
        place = pictures.places[number]
        raise UnsupportedParameter(
            f"Unsupported parameter: '{place}': this server fetches no images; send a data URL.",
            param=place,
        )
    return {}
