"""Which model is worth loading before anybody asks: expected soon, and room is there. Pure."""

from collections.abc import Iterable

from inference.node.residents import Model

SURE = 0.6  # a wrong guess costs a load, a right one saves a wait


def expected(models: Iterable[Model], now: float) -> list[Model]:
    """Give the cold models that will probably be asked for within a minute, the likeliest first.

    One guess for each pause: a model that was not wanted after all is not fetched again.
    """
    likely = [m for m in models if _is_cold(m) and is_likely(m, now)]
    return sorted(likely, key=lambda model: -model.usage.chance(now))


def is_likely(model: Model, now: float) -> bool:
    return model.usage.chance(now) >= SURE


def why(model: Model, now: float) -> str:
    return f"expected: {model.usage.chance(now):.0%} likely to be wanted within a minute"


def _is_cold(model: Model) -> bool:
    rests = model.instance is None and not model.queue and not model.failures
    return rests and model.guessed_at != model.usage.last_at
