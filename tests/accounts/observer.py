"""A web process's view of one credential: `python -m tests.accounts.observer HEADER VALUE`.

Asks the door again and again and prints what it says, each time that it changes.
"""

import asyncio
import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
PAUSE_S = 0.02


async def watch(header: str, value: str) -> None:
    from accounts.authentication import Refused, authenticate  # noqa: PLC0415

    last = ""
    while True:
        try:
            who = await authenticate({header: value}, "127.0.0.1", "GET")
            seen = f"in {','.join(sorted(who.scopes))}"
        except Refused as refused:
            seen = f"out {refused.kind}"
        if seen != last:
            sys.stdout.write(f"{seen}\n")
            sys.stdout.flush()
            last = seen
        await asyncio.sleep(PAUSE_S)


if __name__ == "__main__":
    django.setup()
    asyncio.run(watch(*sys.argv[1:]))
