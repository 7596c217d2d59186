"""One request as the ledger of use notes it: what `spool` writes and `usage_rows` puts into the database."""

import msgspec


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Tokens are those that were served; `at_s` is unix time."""

    uid: str
    request_id: str
    at_s: float
    endpoint: str
    status: int
    user_id: int = 0
    username: str = ""
    key_id: str = ""
    team_id: int = 0
    model: str = ""
    adapter: str = ""
    alias: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False
    audio_s: float = 0.0
    first_token_ms: int | None = None
    duration_ms: int = 0
    error_code: str = ""
