"""multipart/form-data read as it arrives, each field and file within its limit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from inference.errors import InvalidRequest, RequestTooLarge
from inference.openai.fields import invalid

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS = 64
MAX_FIELD_BYTES = 64 * 1024
MAX_NAME_CHARS = 100


class Form:
    """Feed it the body's pieces, then `finish`. A list of texts per field; one file at most.

    With `into`, the file goes there piece by piece as it comes, and `file` is empty.
    Raises: InvalidRequest, InvalidValue, RequestTooLarge from `feed` and `finish`.
    """

    def __init__(
        self,
        content_type: bytes,
        file_field: str,
        max_file_bytes: int,
        into: Callable[[bytes], object] | None = None,
    ) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary or len(boundary) > 200:
            raise InvalidRequest("the content type multipart/form-data has no boundary")
        self.fields: dict[str, list[str]] = {}
        self.file: bytes | None = None
        self.filename = ""
        self._into = into
        self._file_bytes = 0
        self._file_field = file_field
        self._max_file_bytes = max_file_bytes
        self._parts = 0
        self._ended = False
        self._header_name = self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._data = bytearray()
        self._limit = 0
        self._parser = MultipartParser(boundary, _callbacks(self))

    def feed(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidRequest(f"the form is not valid: {error}") from None

    def finish(self) -> None:
        """Check that the form is complete."""
        try:
            self._parser.finalize()
        except FormParserError as error:
            raise InvalidRequest(f"the form is not valid: {error}") from None
        if not self._ended:
            raise InvalidRequest("the form ends before its last boundary")

    # --- what the parser calls ------------------------------------------------------------------

    def on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InvalidRequest(f"the form has more than {MAX_PARTS} parts")
        self._headers = {}
        self._data = bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if not self._name or len(self._name) > MAX_NAME_CHARS:
            raise InvalidRequest("a part of the form has no name, or a very long one")
        is_file = self._name == self._file_field
        if not is_file and b"filename" in options:
            raise invalid(self._name, "it is no file")
        if is_file and self.file is not None:
            raise invalid(self._name, "only one file is allowed")
        self._limit = self._max_file_bytes if is_file else MAX_FIELD_BYTES
        if is_file:
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        is_streamed = self._into is not None and self._name == self._file_field
        before = self._file_bytes if is_streamed else len(self._data)
        if before + end - start > self._limit:
            message = f"'{self._name}' is over the limit of {self._limit} bytes"
            raise RequestTooLarge(message, param=self._name)
        if self._into is not None and is_streamed:
            self._file_bytes += end - start
            self._into(data[start:end])
        else:
            self._data += data[start:end]

    def on_part_end(self) -> None:
        if self._name == self._file_field:
            self.file = bytes(self._data)
        else:
            self.fields.setdefault(self._name, []).append(self._text())
        self._data = bytearray()

    def on_end(self) -> None:
        self._ended = True

    def _text(self) -> str:
        try:
            text = self._data.decode("utf-8")
        except UnicodeDecodeError:
            raise invalid(self._name, "it is not UTF-8") from None
        if "\0" in text:
            raise invalid(self._name, "it holds a NUL character")
        return text


_EVENTS = (
    "part_begin", "part_data", "part_end", "header_field", "header_value", "header_end",
    "headers_finished", "end",
)  # fmt: skip


def _callbacks(form: Form) -> "MultipartCallbacks":
    named = {f"on_{event}": getattr(form, f"on_{event}") for event in _EVENTS}
    return cast("MultipartCallbacks", named)
