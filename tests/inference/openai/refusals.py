"""What a parser did with its input: how it was refused, or None where it was read."""

from collections.abc import Callable

from inference.errors import HubError


def refusal(parse: Callable[[], object]) -> HubError | None:
    try:
        parse()
    except HubError as error:
        return error
    return None
