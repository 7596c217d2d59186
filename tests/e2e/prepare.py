"""Change a running hub's people from outside: `python -m tests.e2e.prepare` with JSON on stdin.

{"people": {name: role}} makes accounts; {"models": [fields]} makes rows of the catalog; {"disable":
name} ends an account; {"key": [user, scope, ...]} makes a key; {"keep": [name, ...]} forgets all other models; {"nobody": url} removes all and prints
a set-up link. The password is always PASSWORD.
"""

import json
import sys
from typing import Any

PASSWORD = "a long enough pass phrase 7"


def main() -> None:
    import django  # noqa: PLC0415 (PASSWORD is wanted without Django)

    django.setup()
    wanted: dict[str, Any] = json.load(sys.stdin)
    for name, role in wanted.get("people", {}).items():
        _make(name, role)
    if "disable" in wanted:
        _disable(wanted["disable"])
    if "keep" in wanted:
        _keep(wanted["keep"])
    if "key" in wanted:
        _issue(*wanted["key"])
    for fields in wanted.get("models", []):
        _add(fields)
    if "nobody" in wanted:
        sys.stdout.write(_link(wanted["nobody"]))


def _make(name: str, role: str) -> None:
    from accounts import people  # noqa: PLC0415

    people.create(name, PASSWORD, role=role)


def _add(fields: dict[str, Any]) -> None:
    from inference import catalog  # noqa: PLC0415
    from inference.models import Model  # noqa: PLC0415

    Model.objects.create(**fields)
    catalog.invalidate()


def _disable(name: str) -> None:
    from accounts.models import User  # noqa: PLC0415

    user = User.objects.get(username=name)
    user.is_active = False
    user.save()


def _keep(names: list[str]) -> None:
    from inference import catalog  # noqa: PLC0415
    from inference.models import Alias, Model  # noqa: PLC0415

    others = Model.objects.exclude(name__in=names)
    Alias.objects.filter(target__in=others).delete()
    others.update(base=None)
    others.delete()
    catalog.invalidate()


def _issue(owner: str, *scopes: str) -> None:
    from accounts import keys, principals  # noqa: PLC0415
    from accounts.models import User  # noqa: PLC0415

    user = User.objects.get(username=owner)
    keys.issue(user, "a key with a rather long name", scopes, by=principals.operator_for(user))


def _link(url: str) -> str:
    from accounts import setup  # noqa: PLC0415
    from accounts.models import User  # noqa: PLC0415

    User.objects.all().delete()
    return setup.issue_link(url) or ""


if __name__ == "__main__":
    main()
