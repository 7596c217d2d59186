"""JSON bodies of the management API: the same strict reader as under /v1."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from inference.errors import RequestTooLarge
from inference.openai import bounded_json

MAX_BYTES = 1024 * 1024


class BoundedJSON(BaseParser):
    """Objects only; bounded in bytes, depth and values."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Raises: HubError, named by hub.envelope."""
        data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise RequestTooLarge(f"the body is over the limit of {MAX_BYTES} bytes")
        return dict(bounded_json.parse_object(data))
