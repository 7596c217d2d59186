"""Let somebody come by secrets of every kind: `python -m tests.hub.seed_secrets`; JSON on stdout.

They use the running hub's own database and Redis, through its pages.
"""

import json
import sys

import django
from django.test.utils import setup_test_environment

django.setup()
setup_test_environment()

from django.test import Client  # noqa: E402 (models need the set-up)

from accounts import principals, service_accounts  # noqa: E402
from accounts.applications import Wanted, register  # noqa: E402
from accounts.models import Provider, Team, User, default_team_id  # noqa: E402
from tests.accounts import application_cases as cases  # noqa: E402
from tests.accounts.signing import code_of, password_step  # noqa: E402

PROVIDER = "canary-Gage-81-provider"
Secrets = dict[str, str]


def factors(browser: Client) -> Secrets:
    """Set an app up, take new codes, and begin with another app."""
    secret = browser.get("/account/app/").context["draft"].secret
    assert browser.post("/account/app/", {"code": code_of(secret)}).status_code == 302
    codes = browser.post("/account/recovery/").context["codes"]
    draft = browser.get("/account/app/").context["draft"].secret
    found = {"app": secret, "app in a session": draft}
    return found | {f"recovery code {number}": code for number, code in enumerate(codes)}


def application(browser: Client, admin: User) -> Secrets:
    """Let an application in; one code stays unused."""
    app, secret = cases.register(admin)
    spent, unused = cases.allow(browser, app)["code"], cases.allow(browser, app)["code"]
    got = cases.exchange(app, secret, spent).json()
    tokens = {"app's access token": got["access_token"], "app's refresh": got["refresh_token"]}
    return {"client secret": secret, "spent code": spent, "unused code": unused, **tokens}


def service(admin: User) -> Secrets:
    """Let an application act by itself."""
    by = principals.of_user(admin)
    team = Team.objects.get(pk=default_team_id())
    account = service_accounts.create("robot", team, User.Role.DEVELOPER, by)
    app, secret = register(Wanted("robots", [], ["models:read"], service=account), by)
    asked = {"grant_type": "client_credentials", "scope": "models:read"}
    asked |= {"client_id": app.client_id, "client_secret": secret}
    got = Client().post("/oauth/token/", asked).json()
    return {"robot's secret": secret, "robot's token": got["access_token"]}


def main() -> None:
    admin, browser = User.objects.get(username="ada"), Client()
    password_step(browser, "ada")
    about = {"name": "Corp", "issuer": "https://id.example.org", "client_id": "c"}
    Provider.objects.create(slug="corp", client_secret=PROVIDER, **about)
    found = {"provider's secret": PROVIDER, "second session": browser.cookies["sessionid"].value}
    found |= factors(browser) | application(browser, admin) | service(admin)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
