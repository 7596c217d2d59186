"""Put /v1 beside /api/v1 into the one schema that /api/schema and /api/docs show."""

from typing import Any

from inference.openai import described


def add(result: dict[str, Any], **_asked: Any) -> dict[str, Any]:
    """Take what drf-spectacular made; a hook of its own settings."""
    paths, components = described.document()
    result["paths"].update(paths)
    result["components"]["schemas"].update(components)
    return result
