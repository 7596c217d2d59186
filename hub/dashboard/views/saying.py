"""How views say what went wrong with a wish, in the visitor's language."""

from hub.dashboard import reasons
from inference.downloads import plain
from inference.errors import HubError


def said(error: Exception) -> str:
    return reasons.words(error.message if isinstance(error, HubError) else plain(error))
