"""Log lines of all processes on one terminal: prefixed and coloured, or one JSON object a line."""

import asyncio
import json
import sys
from datetime import UTC, datetime

LONGEST_LINE_BYTES = 256 * 1024
READ_BYTES = 64 * 1024
PREFIX_WIDTH = 8  # prepare, and a space
COLOURS = {"hub": 32, "web": 36, "node": 35, "worker": 33, "valkey": 34, "mlflow": 34}


class Terminal:
    """Write the lines of every process, whole lines at a time."""

    def __init__(self, *, json_lines: bool, colour: bool) -> None:
        self.json_lines = json_lines
        self.colour = colour

    def line(self, name: str, text: str) -> None:
        """Raises: nothing; a closed terminal must not stop the supervisor."""
        try:
            sys.stdout.write(self._format(name, text) + "\n")
            sys.stdout.flush()
        except (BrokenPipeError, ValueError):
            return

    def _format(self, name: str, text: str) -> str:
        if self.json_lines:
            return text if text.startswith("{") else _as_json(name, text)
        prefix = f"{name:<{PREFIX_WIDTH}}|"
        if self.colour:
            prefix = f"\x1b[{COLOURS.get(name.split('-', maxsplit=1)[0], 37)}m{prefix}\x1b[0m"
        return f"{prefix} {text}"

    async def pump(self, name: str, stream: asyncio.StreamReader) -> None:
        """Copy lines until the process closes its output; cut a line that never ends."""
        rest = b""
        while chunk := await stream.read(READ_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._bytes(name, line)
            if len(rest) > LONGEST_LINE_BYTES:
                self._bytes(name, rest)
                rest = b""
        if rest:
            self._bytes(name, rest)

    def _bytes(self, name: str, line: bytes) -> None:
        if text := line.decode("utf-8", "replace").rstrip():
            self.line(name, text)


def _as_json(name: str, text: str) -> str:
    """Give a line the fields that the processes' own lines have."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    fields = {"event": text, "level": "info", "logger": f"hub.{name}", "timestamp": now}
    return json.dumps({**fields, "process": name}, ensure_ascii=False)
