"""What a browser says of itself, in words. Pure."""

import re

BROWSERS = (  # the first that is named; Edge and Opera call themselves Chrome too
    ("Edge", r"Edg(?:e|A|iOS)?/"),
    ("Opera", r"OPR/"),
    ("Firefox", r"(?:Firefox|FxiOS)/"),
    ("Chrome", r"(?:Chrome|Chromium|CriOS)/"),
    ("Safari", r"Version/.*Safari/"),
    ("curl", r"^curl/"),
    ("Python", r"(?i)^python|httpx|requests/"),
)
SYSTEMS = (
    ("Windows", r"Windows"),
    ("Android", r"Android"),
    ("iPhone", r"iPhone"),
    ("iPad", r"iPad"),
    ("macOS", r"Mac OS X|Macintosh"),
    ("Linux", r"Linux|X11"),
)


def words(agent: str) -> str:
    """Give such as "Firefox, Windows"; what is unknown as it came, shortened."""
    found = [_first(agent, BROWSERS), _first(agent, SYSTEMS)]
    return ", ".join(name for name in found if name) or agent[:40] or "?"


def _first(agent: str, known: tuple[tuple[str, str], ...]) -> str:
    return next((name for name, pattern in known if re.search(pattern, agent)), "")
