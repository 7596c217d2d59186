"""The queue as people read it."""

import pytest
from django.template.loader import render_to_string

from inference import wire


class Board:
    """What the panel reads."""

    trainings = ()

    def __init__(self, eta_s: float) -> None:
        self.queue = [
            wire.Waiting(
                model="calm", position=1, age_s=40.0, eta_s=eta_s, reason="calm is loading"
            )
        ]
        self.waiting = 1


@pytest.mark.parametrize(("eta_s", "shown"), [(0.0, "any moment"), (12.0, "about 12 s")])
def test_a_load_that_is_late_is_due_any_moment(eta_s: float, shown: str) -> None:
    page = render_to_string("panels/queue.html", {"board": Board(eta_s)})
    assert shown in page
    assert "about 0 s" not in page
