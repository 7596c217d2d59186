"""What a management command says, in one line, of a service or a disk that fails it. For manage.py."""

from django.db.utils import Error as DatabaseError

from inference import outages

NOT_SET_UP = "The database is not set up yet: run `python3 manage.py prepare` or `make run`."
NO_TABLE = ("no such table", "does not exist")


def line(error: Exception) -> str | None:
    """Give the line, or None where this is a mistake of the code."""
    detail = next(iter(str(error).strip().splitlines()), "")
    if isinstance(error, DatabaseError) and any(words in detail for words in NO_TABLE):
        return NOT_SET_UP
    if (outage := outages.of(error)) is None:
        return None
    said = f"{outage.message[:1].upper()}{outage.message[1:]}"
    return f"{said} ({detail})." if detail else f"{said}."
