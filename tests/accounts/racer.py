"""A process of its own that races for places: `python -m tests.accounts.racer TRIES TOKENS`.

Says `ready`, waits for a line, then asks TRIES times at once, prints the number of places it got,
and keeps them until its input ends.
"""

import asyncio
import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")


async def race(tries: int, tokens: int) -> int:
    from accounts import limits  # noqa: PLC0415
    from accounts.principals import Principal  # noqa: PLC0415

    who = Principal(user_id=1, username="racer", role="developer", scopes=frozenset())
    asks = [limits.admit(who, "m", tokens) for _ in range(tries)]
    answers = await asyncio.gather(*asks, return_exceptions=True)
    unexpected = [one for one in answers if not isinstance(one, limits.Lease | limits.LimitReached)]
    if unexpected:
        raise RuntimeError(unexpected)
    return sum(isinstance(one, limits.Lease) for one in answers)


def main(tries: int, tokens: int) -> None:
    django.setup()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(f"{asyncio.run(race(tries, tokens))}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
