"""The mark of rights: what was read before a change is never trusted again."""

from collections.abc import Iterator

import pytest

from accounts import epoch


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    yield
    epoch.forget()


def test_an_old_mark_that_comes_back_makes_nothing_valid() -> None:
    """As when Redis is killed and starts from an older snapshot, or from nothing."""
    for before, after in ((b"one", b"two"), (None, b"three")):
        epoch._learn(before)
        stamp = epoch.stamp()
        assert epoch.holds(stamp)
        epoch._learn(after)
        assert not epoch.holds(stamp)
        epoch._learn(before)
        assert not epoch.holds(stamp)
