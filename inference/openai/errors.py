"""Errors as OpenAI's clients expect them: one envelope, always with its four keys.

A fifth, `details`, is there where an error has figures: clients that do not know it pass over it.
"""

import msgspec

from inference.errors import HubError


class _Body(msgspec.Struct, omit_defaults=True):
    message: str
    type: str
    param: str | None
    code: str | None
    details: dict[str, object] | None = None


class _Envelope(msgspec.Struct):
    error: _Body


def envelope(error: HubError) -> bytes:
    """Give the JSON body of an error answer (and the data of a stream's `error` event)."""
    param = None if error.param is None else _clean(error.param)
    body = _Body(_clean(error.sentence), error.type, param, error.code, error.details)
    return msgspec.json.encode(_Envelope(body))


def _clean(text: str) -> str:
    """Replace what UTF-8 cannot carry: messages may quote a request."""
    return text.encode("utf-8", "replace").decode()
