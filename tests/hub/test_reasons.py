"""The node's reasons in the visitor's language: every one that it writes is known."""

import pytest
from django.utils import translation

from hub.dashboard import reasons

KNOWN = [
    "ready after 1.2 s",
    "asked for by an operator",
    "asked for by an operator, priority -1",
    "asked for by a request",
    "asked for by a request, priority 3",
    "makes room, wanted by a/b (3 waiting)",
    "replaced by a newer version",
    "idle for 300 s",
    "nobody waits for it any more",
    "the models together grew past the memory limit",
    "its engine process ended unexpectedly",
    "the engine of a used 1.9 GB of main memory, was given 1.2 GB, and was ended",
    "the machine ran out of memory, and the system ended the engine of a",
    "its engine ended too often: requests are refused for a while",
    "waits for a model place: a is busy with 2, b was used just now, c is loading",
    "waits for memory on cpu: 1.2 GB needed, 300 MB free; other programs hold it",
    "it needs 1.2 GB on cpu; the limit is 900 MB",
    "it needs 1.2 GB on cuda:0; the limit is 900 MB, of which pinned models hold 10 MB",
    "all 2 model places are held by pinned models",
    "priority -3, idle for 40 s, 3% likely to be wanted within a minute, loads in 4.1 s",
    "a is loading",
    "a is about to be loaded",
    "a is busy with 2 requests",
    "waits until a, b has left the memory",
    "waits a little: a would have to go, and will probably be wanted again",
]


@pytest.mark.parametrize("reason", KNOWN)
def test_it_keeps_the_english_and_has_a_vietnamese(reason: str) -> None:
    with translation.override("en"):
        assert reasons.words(reason) == reason
    with translation.override("vi"):
        assert reasons.words(reason) != reason


def test_it_leaves_an_engines_own_words_alone() -> None:
    with translation.override("vi"):
        assert (
            reasons.words("the weights are torn, 100 % sure") == "the weights are torn, 100 % sure"
        )
        assert reasons.words("waits for a model place: a is loading").endswith("a đang nạp")
        assert reasons.device("2 cores") == "2 lõi"
        assert reasons.device("NVIDIA H100") == "NVIDIA H100"
