"""What schemathesis asks of every answer beyond its own checks; read in its environment, without ours.

The keys of `FUZZ_KEYS` take turns: one alone would meet the limit on management calls, and little else.
Every second body for a model names one that is there: the others end at its name.
"""

import itertools
import os

import schemathesis  # type: ignore[import-not-found, unused-ignore] # another environment's

FIELDS = {"message", "type", "param", "code"}
KEYS = itertools.cycle(os.environ["FUZZ_KEYS"].split())
MODELS = {
    "/v1/chat/completions": "llm",
    "/v1/completions": "llm",
    "/v1/embeddings": "embed",
    "/v1/audio/transcriptions": "asr",
    "/v1/audio/translations": "asr",
}
TURNS = itertools.count()


@schemathesis.hook  # type: ignore[untyped-decorator, unused-ignore]
def before_call(_context, case, _kwargs) -> None:  # type: ignore[no-untyped-def]
    case.headers["x-api-key"] = next(KEYS)
    model = MODELS.get(case.path)
    if model and isinstance(case.body, dict) and "model" in case.body and next(TURNS) % 2:
        case.body["model"] = model


@schemathesis.check  # type: ignore[untyped-decorator, unused-ignore]
def refusals_have_the_envelope(_context, response, _case) -> None:  # type: ignore[no-untyped-def]
    if response.status_code < 400:
        return
    error = response.json()["error"]
    assert error.keys() >= FIELDS, f"the envelope has {sorted(error)}"
    assert all((error["message"], error["type"])), "the envelope is empty"
