"""Errors of the node name nobody that their reader may not see."""

from inference import veil
from inference.errors import OutOfMemory


def test_an_error_loses_hidden_names_in_words_and_fields() -> None:
    error = OutOfMemory("b does not fit: pinned: org/secret, open.", retry_after_s=3)
    holders = [{"name": name, "claim_bytes": 1} for name in ("org/secret", "open")]
    error.details = {"device": "cpu", "would_have_to_go": holders}
    told = veil.told(error, {"org/secret"})
    assert told.message == f"b does not fit: pinned: {veil.NAMELESS}, open."
    assert told.details == {
        "device": "cpu",
        "would_have_to_go": [
            {"name": veil.NAMELESS, "claim_bytes": 1},
            {"name": "open", "claim_bytes": 1},
        ],
    }
    assert (type(told), told.retry_after_s, told.retryable) == (OutOfMemory, 3, True)
    assert veil.told(error, set()) is error
    assert "org/secret" in error.message
