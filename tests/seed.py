"""Fill the database of a hub that a test starts: `python -m tests.seed` with JSON on stdin.

{"models": [{...}], "aliases": {name: model}, "keys": {name: [scopes]}} -> {name: key}
"""

import json
import sys
from typing import Any

import django

django.setup()

from accounts import keys as api_keys  # noqa: E402 (models need the set-up)
from accounts import principals  # noqa: E402
from accounts.models import User  # noqa: E402
from inference.models import Alias, Model  # noqa: E402


def main() -> None:
    wanted: dict[str, Any] = json.load(sys.stdin)
    _models(wanted.get("models", []), wanted.get("aliases", {}))
    json.dump(_keys(wanted.get("keys", {})), sys.stdout)


def _models(models: list[dict[str, Any]], aliases: dict[str, str]) -> None:
    rows: dict[str, Model] = {}
    for fields in models:
        named = {"base": rows[fields["base"]]} if "base" in fields else {}  # that comes before it
        rows[fields["name"]] = Model.objects.create(**fields | named)
    for name, target in aliases.items():
        Alias.objects.create(name=name, target=rows[target])


def _keys(keys: dict[str, dict[str, Any]]) -> dict[str, str]:
    owner = User.objects.create(username="tester", role="admin")
    by = principals.of_user(owner)
    return {
        name: api_keys.issue(
            owner, name, options.get("scopes"), by=by, models=options.get("models", ())
        )[1]
        for name, options in keys.items()
    }


if __name__ == "__main__":
    main()
