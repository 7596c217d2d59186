"""Register an application that acts as a service account: `python -m tests.inference.api.seed_app`.

Writes its id and its secret as JSON, for a hub that a test has started.
"""

import json
import sys

import django

django.setup()

from accounts import applications, principals, service_accounts  # noqa: E402 (models need the set-up)
from accounts.models import Team, User, default_team_id  # noqa: E402


def main() -> None:
    admin = principals.of_user(User.objects.get(username="tester"))
    account = User.objects.filter(username="robot").first() or service_accounts.create(
        "robot", Team.objects.get(pk=default_team_id()), User.Role.DEVELOPER, admin
    )
    wanted = applications.Wanted("app", [], ["inference:chat", "status:read"], service=account)
    app, secret = applications.register(wanted, admin)
    json.dump({"client_id": app.client_id, "client_secret": secret}, sys.stdout)


if __name__ == "__main__":
    main()
