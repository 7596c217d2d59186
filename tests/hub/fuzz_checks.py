"""What schemathesis asks of every answer beyond its own checks; read in its environment, without ours."""

import schemathesis  # type: ignore[import-not-found, unused-ignore] # another environment's

FIELDS = {"message", "type", "param", "code"}


@schemathesis.check  # type: ignore[untyped-decorator, unused-ignore]
def refusals_have_the_envelope(_context, response, _case) -> None:  # type: ignore[no-untyped-def]
    if response.status_code < 400:
        return
    error = response.json()["error"]
    assert error.keys() >= FIELDS, f"the envelope has {sorted(error)}"
    assert all((error["message"], error["type"])), "the envelope is empty"
