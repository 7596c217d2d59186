"""Notes each request for inference in the ledger of use, however it ended; called once by `app`."""

import time

from accounts import ledger
from accounts.entry import Entry
from accounts.principals import Principal
from inference import metrics
from inference.api.call import Call
from inference.api.http import Reply, Request
from inference.api.meter import Meter

LEFT = 499  # nobody was there any more to be told a status
CODE_OF_LEFT = "client_closed_request"
CHARS = 160  # of a label


def note(request: Request, reply: Reply, who: Principal, call: Call | None, code: str) -> None:
    """`code`: the error that it ended with; empty where it was served."""
    meter = call.meter if call else Meter(request.started_s)
    served = meter.served()
    ledger.note(
        Entry(
            uid=ledger.new_uid(),
            request_id=request.id[:128],
            at_s=time.time() - request.elapsed_s,
            endpoint=request.path.removeprefix("/v1/"),
            status=LEFT if code == CODE_OF_LEFT else reply.status,
            user_id=who.user_id,
            username=who.username,
            key_id=who.counted_key or who.key_id or "",
            team_id=who.team_id or 0,
            **_names(call),
            prompt_tokens=served.prompt_tokens,
            completion_tokens=served.completion_tokens,
            cached_tokens=served.cached_tokens,
            estimated=served.estimated,
            audio_s=served.audio_s,
            first_token_ms=_ms(meter.first_s, request.started_s),
            duration_ms=round(request.elapsed_s * 1000),
            error_code=code,
        )
    )


def _ms(first_s: float | None, started_s: float) -> int | None:
    return None if first_s is None else round((first_s - started_s) * 1000)


def _names(call: Call | None) -> dict[str, str]:
    """Name the model that served; a name that led nowhere is a client's text and not kept."""
    if call is None or call.model == metrics.NO_MODEL:
        return {}
    adapter = call.model if call.base else ""
    alias = call.asked if call.asked != call.model else ""
    return {
        "model": (call.base or call.model)[:CHARS],
        "adapter": adapter[:CHARS],
        "alias": alias[:CHARS],
    }
