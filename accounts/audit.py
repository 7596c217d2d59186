"""The audit log: append-only and hash-chained. Every verb that changes something calls `record`.

A verb calls it last inside its own transaction, so that both are there or neither is.
"""

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from accounts import actors, anchors, chain, crypto, redaction, sealing
from accounts.actors import Actor
from accounts.chain import Anchor, Verdict
from accounts.models import AuditRow, AuditRows

WRITERS = 0x48554241  # the advisory lock of PostgreSQL under which one row follows the other
MAX_TEXT_CHARS = 500  # of one value
MAX_JSON_CHARS = 16_000  # of before and after, each
REDACTED = "[redacted]"
SECRET = re.compile(
    r"(^|_)(password|passphrase|secret|token|api_key|key|private_key|digest|sealed|pepper|otp|totp"
    r"|recovery_codes?|authorization|cookie|session_key)$"
)
CONTENT = re.compile(r"(^|_)(prompt|messages|content|input)$")
Values = Mapping[str, Any]
Outcome = AuditRow.Outcome


def record(  # noqa: PLR0913 (each says another thing of the row)
    action: str,
    kind: str,
    name: str,
    *,
    pk: object = "",
    before: Values | None = None,
    after: Values | None = None,
    outcome: str = Outcome.DONE,
    times: int = 1,
) -> AuditRow:
    """Append one row: `audit.record("alias.change", "alias", alias.name, before=..., after=...)`.

    `action` is `noun.verb`; `kind`, `name` and `pk` say on which object. `before` and `after` are
    plain values by field: what is the same in both is left out, secrets are hidden by their field's
    name, text that people wrote becomes its length and digest. Who acts, from which address and in
    which request comes from `actors.now()`; to act for somebody else: `with actors.acting(...)`.

    Call it last inside the verb's transaction: from here to its end no other process writes a row.
    """
    was, now = _changed(before, after)
    values = {"before": _json(was), "after": _json(now), "outcome": str(outcome), "times": times}
    named = {"object_kind": kind, "object_id": _plain(str(pk), 64)}
    return append({"action": action, "object_name": _plain(name, 200), **named, **values})


def append(fields: dict[str, Any], actor: Actor | None = None) -> AuditRow:
    """Link a row to the last one. Only the rooms of the log call it."""
    who = _who(actor or actors.now())
    with transaction.atomic(savepoint=False):
        take_turn()
        last = AuditRow.objects.order_by("-seq").values_list("seq", "hash").first()
        seq, head = last or (0, chain.START)
        row = AuditRow(**fields, **who, seq=seq + 1, previous=head, at=timezone.now())
        row.hash = chain.digest(as_row(row))
        row.save(force_insert=True)
        anchor = Anchor(row.seq, row.hash)
        transaction.on_commit(partial(anchors.move, anchor, _holds), robust=True)
    return row


def _holds(known: Anchor) -> bool:
    """Tell whether the chain has this row yet; one that went under a checkpoint is the walk's matter."""
    found = AuditRow.objects.filter(seq=known.seq).values_list("hash", flat=True).first()
    if found is not None:
        return found == known.hash
    return AuditRow.objects.filter(action=chain.CHECKPOINT, through__gte=known.seq).exists()


def as_row(row: AuditRow) -> dict[str, Any]:
    """Give what the hash covers, and the hash: what an export holds too."""
    found = {field: getattr(row, field) for field in (*chain.FIELDS, "hash")}
    at: dt.datetime = row.at
    return {**found, "at": at.astimezone(dt.UTC).isoformat(timespec="microseconds")}


def rows(found: AuditRows | None = None) -> Iterator[dict[str, Any]]:
    """Give the whole log, or what was found in it, oldest first, without holding it in memory."""
    wanted = AuditRow.objects.all() if found is None else found
    for row in wanted.order_by("seq").iterator(chunk_size=1000):
        yield as_row(row)


def verify(*, anchored: bool = True) -> Verdict:
    """Walk the chain against the anchor. Raises: ValueError where the anchor is damaged."""
    anchor = anchors.read() if anchored else None  # before the rows: those may grow meanwhile
    return chain.verify(rows(), [anchor] if anchor else [], _is_ours)


def _is_ours(under: Anchor, proof: str) -> bool:
    return sealing.proves(chain.CHECKPOINT, f"{under.seq}:{under.hash}", proof)


def take_turn() -> None:
    """Wait until no other process writes. SQLite's transactions begin with the write lock; PostgreSQL's writers queue here."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [WRITERS])


def _who(actor: Actor) -> dict[str, Any]:
    return {
        "actor_kind": actor.kind,
        "actor": _plain(actor.name, 150),
        "actor_id": actor.user_id,
        "key_id": _plain(actor.key_id, 64),
        "address": _plain(actor.address, 64),
        "request_id": _plain(actor.request_id, 128),
    }


def _changed(before: Values | None, after: Values | None) -> tuple[Values | None, Values | None]:
    """Keep of a change what differs."""
    if before is None or after is None:
        return before, after
    same = {name for name in before if name in after and before[name] == after[name]}
    return (
        {name: value for name, value in before.items() if name not in same},
        {name: value for name, value in after.items() if name not in same},
    )


def _json(values: Values | None) -> str:
    if values is None:
        return ""
    text = json.dumps(_safe(values), ensure_ascii=False, sort_keys=True, default=str)
    if len(text) <= MAX_JSON_CHARS:
        return _plain(text, MAX_JSON_CHARS)
    short = {name: _fingerprint(json.dumps(value, default=str)) for name, value in values.items()}
    return _plain(json.dumps(short, sort_keys=True), MAX_JSON_CHARS)


def _safe(value: Any, name: str = "") -> Any:
    """Hide secrets by the name of their field, and what people wrote; shorten the rest."""
    if SECRET.search(name) and value not in (None, "", False, True):
        return REDACTED
    if CONTENT.search(name) and value:
        return _fingerprint(str(value))
    if isinstance(value, Mapping):
        return {str(key)[:100]: _safe(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [_safe(item) for item in items]
    if isinstance(value, str):
        text = redaction.clean(value)
        return text if len(text) <= MAX_TEXT_CHARS else _fingerprint(text)
    return value


def _fingerprint(text: str) -> str:
    """Tell two texts apart without keeping either."""
    return f"[{len(text)} characters, sha256 {crypto.short_digest(text)}]"


def _plain(text: str, chars: int) -> str:
    """PostgreSQL takes no NUL and no half of a surrogate pair."""
    clean = (
        redaction.clean(text)
        .encode(errors="replace")
        .decode()
        .replace("\0", "\N{REPLACEMENT CHARACTER}")
    )
    return clean[:chars]
