"""Why a verb of accounts is refused; `hub.envelope` turns it into an answer."""


class Refusal(Exception):
    """What was asked cannot be; `message` is safe to show, `field` is the argument at fault."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class NotAllowed(Refusal):
    """Whoever asks does not hold what they would give, or may not touch this."""


class InTheWay(Refusal):
    """Something else would be left without what it needs."""
