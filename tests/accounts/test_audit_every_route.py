"""Every route that changes something, called, leaves its row of the audit log; the others say why not.

What is under /v1 has the same in `test_audit_under_v1`; commands are in `test_audit_walk`.
"""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver, resolve
from pytest_django import Settings

from accounts.models import AuditRow, Membership, Provider, Role, Team, User
from hub.dashboard import audit_words
from inference.models import Model
from tests.accounts.audit_exceptions import ELSEWHERE, NO_ROW
from tests.accounts.conftest import PASSWORD as OWN
from tests.accounts.conftest import MakeUser
from tests.accounts.signing import password_step
from tests.accounts.test_audit_walk import ACTS, MODEL, SAFE, World, methods_of
from tests.accounts.test_every_route import paths
from training.models import DataSet, DataSetVersion, Job

PASSWORD = "another long pass phrase 9"


class Caller(World):
    """Remembers which routes it called; and more things to call them on."""

    def __init__(self, admin: User) -> None:
        super().__init__(admin)
        self.called: set[str] = set()
        self.admin = admin
        self.team = Team.objects.create(name="crew")
        self.person = User.objects.create(username="eve", role="viewer")
        Membership.objects.create(team=self.team, user=self.person)
        Role.objects.create(name="helper", scopes=["models:read"])
        Provider.objects.create(
            slug="corp", name="Corp", issuer="https://id.example.org", client_id="c"
        )
        Model.objects.create(
            name="f", state=Model.State.FAILED, **MODEL | {"source": "huggingface"}
        )
        self.bot = User.objects.create(username="bot", kind="service", is_hub_wide=True)

    def send(self, method: str, path: str, body: Any = None) -> Any:
        self.called.add(f"{method} {resolve(f'/api/v1/{path}').route}")
        return super().send(method, path, body)

    def post(self, path: str, **fields: Any) -> Any:
        self.called.add(f"POST {resolve(path).route}")
        return super().post(path, **fields)

    def prove(self) -> None:
        """Some changes ask for the password once more."""
        self.page.post("/account/prove/", {"password": OWN})

    def application(self) -> str:
        return str(super().send("POST", "applications", APP).json()["client_id"])

    def another_browser(self) -> None:
        password_step(Client(), "ada")

    def data_set(self) -> str:
        data = DataSet.objects.create(name="rows", owner=self.admin)
        state = DataSetVersion.State.READY
        DataSetVersion.objects.create(data_set=data, number=1, address="c" * 64, state=state)
        return str(data.pk)

    def job(self, state: str) -> str:
        version = DataSetVersion.objects.get(data_set=self.data_set())
        about = {"base": "m", "training_type": "lora", "owner": self.admin}
        return str(Job.objects.create(version=version, state=state, **about).pk)


Act = Callable[[Caller], Any]


def api(method: str, path: str, action: str, body: Any = None) -> tuple[str, Act]:
    return action, lambda one: one.send(method, path, body)


def page(path: str, action: str, **fields: Any) -> tuple[str, Act]:
    return action, lambda one: one.post(path, **fields)


URI = "https://app.example.org/back"
NAMED = {"name": "N", "scopes": "models:read"}
APP = {"name": "N", "scopes": ["models:read"], "redirect_uris": [URI], "is_public": True}
PRICE = {"prompt": "1", "completion": "2"}
PERSON = {"username": "mia", "password": PASSWORD, "role": "viewer"}
CALLED: dict[str, tuple[str, Any]] = {
    "POST /api/v1/keys": ACTS["issue a key"],
    "DELETE /api/v1/keys/x": ACTS["revoke a key"],
    "POST /api/v1/keys/x/rotate": (
        "key.rotate",
        lambda one: one.send("POST", f"keys/{one.other.public_id}/rotate", {"overlap_s": 0}),
    ),
    "POST /api/v1/models/add": ACTS["add a model"],
    "PATCH /api/v1/models/x/y": ACTS["change a model"],
    "DELETE /api/v1/models/x/y": ACTS["remove a model"],
    "POST /api/v1/models/x/y/cancel": ACTS["cancel a model"],
    "POST /api/v1/models/x/y/load": ACTS["load a model"],
    "POST /api/v1/models/x/y/unload": ACTS["unload a model"],
    "POST /api/v1/models/x/y/verify": ACTS["verify a model"],
    "POST /api/v1/aliases": ACTS["make a name"],
    "PATCH /api/v1/aliases/x/y": ACTS["change a name"],
    "DELETE /api/v1/aliases/x/y": ACTS["remove a name"],
    "POST /api/v1/aliases/x/y/rollback": ACTS["roll a name back"],
    "PUT /api/v1/secrets/x": ACTS["set a secret"],
    "POST /api/v1/uploads": ACTS["begin an upload"],
    "DELETE /api/v1/uploads/x": ACTS["give an upload up"],
    "PATCH /api/v1/limits/everyone": ACTS["set a limit"],
    "DELETE /api/v1/limits/everyone": (
        "limit.drop",
        lambda one: (
            one.send("PATCH", "limits/everyone", {"requests_per_minute": 7}),
            one.send("DELETE", "limits/everyone"),
        ),
    ),
    "PATCH /api/v1/limits/x/x/y": api(
        "PATCH", "limits/user/eve", "limit.put", {"requests_per_minute": 7}
    ),
    "DELETE /api/v1/limits/x/x/y": (
        "limit.drop",
        lambda one: (
            one.send("PATCH", "limits/user/eve", {"requests_per_minute": 7}),
            one.send("DELETE", "limits/user/eve"),
        ),
    ),
    "PUT /api/v1/prices/x/y": api("PUT", "prices/m", "price.put", PRICE),
    "DELETE /api/v1/prices/x/y": (
        "price.drop",
        lambda one: (one.send("PUT", "prices/m", PRICE), one.send("DELETE", "prices/m")),
    ),
    "POST /api/v1/users": api("POST", "users", "user.create", PERSON),
    "PATCH /api/v1/users/x": api("PATCH", "users/eve", "user.change", {"role": "developer"}),
    "DELETE /api/v1/users/x": api("DELETE", "users/eve", "user.remove"),
    "POST /api/v1/teams": api("POST", "teams", "team.create", {"name": "band"}),
    "PATCH /api/v1/teams/x": api("PATCH", "teams/crew", "team.change", {"description": "d"}),
    "DELETE /api/v1/teams/x": api("DELETE", "teams/crew", "team.remove"),
    "POST /api/v1/teams/x/members": api(
        "POST", "teams/crew/members", "team.add_member", {"user": "bot"}
    ),
    "PATCH /api/v1/teams/x/members/x": api(
        "PATCH", "teams/crew/members/eve", "team.change_member", {"level": "manager"}
    ),
    "DELETE /api/v1/teams/x/members/x": api(
        "DELETE", "teams/crew/members/eve", "team.remove_member"
    ),
    "POST /api/v1/roles": api(
        "POST", "roles", "role.create", {"name": "reader", "scopes": ["models:read"]}
    ),
    "PATCH /api/v1/roles/x": api("PATCH", "roles/helper", "role.change", {"description": "d"}),
    "DELETE /api/v1/roles/x": api("DELETE", "roles/helper", "role.remove"),
    "POST /api/v1/service_accounts": api(
        "POST",
        "service_accounts",
        "service_account.create",
        {"name": "b2", "team": "crew", "role": "viewer"},
    ),
    "PATCH /api/v1/service_accounts/x": api(
        "PATCH", "service_accounts/bot", "service_account.change", {"contact": "eve"}
    ),
    "DELETE /api/v1/service_accounts/x": api(
        "DELETE", "service_accounts/bot", "service_account.remove"
    ),
    "DELETE /api/v1/providers/x": api("DELETE", "providers/corp", "provider.remove"),
    "POST /api/v1/datasets": api(
        "POST", "datasets", "dataset.add", {"name": "rows", "text": '{"text": "a"}\n' * 12}
    ),
    "POST /access/people/new/": page(
        "/access/people/new/", "user.create", team="default", **PERSON
    ),
    "POST /access/people/change/x/": page(
        "/access/people/change/eve/", "user.change", role="developer"
    ),
    "POST /access/people/remove/x/": page("/access/people/remove/eve/", "user.remove"),
    "POST /access/roles/new/": page(
        "/access/roles/new/", "role.create", name="reader", scopes="models:read"
    ),
    "POST /access/roles/about/x/": page(
        "/access/roles/about/helper/", "role.change", scopes="status:read"
    ),
    "POST /access/roles/remove/x/": page("/access/roles/remove/helper/", "role.remove"),
    "POST /access/teams/new/": page("/access/teams/new/", "team.create", name="band"),
    "POST /access/teams/change/x/": page(
        "/access/teams/change/crew/", "team.change", description="d"
    ),
    "POST /access/teams/remove/x/": page("/access/teams/remove/crew/", "team.remove"),
    "POST /access/teams/members/x/add/": page(
        "/access/teams/members/crew/add/", "team.add_member", user="bot", level="member"
    ),
    "POST /access/teams/members/x/x/change/": page(
        "/access/teams/members/crew/eve/change/", "team.change_member", level="manager"
    ),
    "POST /access/teams/members/x/x/remove/": page(
        "/access/teams/members/crew/eve/remove/", "team.remove_member"
    ),
    "POST /access/accounts/change/x/": page(
        "/access/accounts/change/bot/", "service_account.change", contact="eve", role="viewer"
    ),
    "POST /access/accounts/remove/x/": page(
        "/access/accounts/remove/bot/", "service_account.remove"
    ),
    "POST /access/accounts/new/": page(
        "/access/accounts/new/", "service_account.create", name="b2", team="crew", role="viewer"
    ),
    "POST /access/sign-in/require/": page(
        "/access/sign-in/require/", "sign_in_rules.change", roles="viewer"
    ),
    "POST /access/sign-in/remove/x/": page("/access/sign-in/remove/corp/", "provider.remove"),
    "POST /api/v1/applications": api("POST", "applications", "application.add", APP),
    "DELETE /api/v1/applications/x": (
        "application.remove",
        lambda one: one.send("DELETE", f"applications/{one.application()}"),
    ),
    "POST /apps/new/": page(
        "/apps/new/", "application.add", kind="public", redirect_uris=URI, **NAMED
    ),
    "DELETE /api/v1/secrets/x": (
        "secret.forget",
        lambda one: (
            one.send("PUT", "secrets/huggingface_token", {"value": "hf_plum"}),
            one.send("DELETE", "secrets/huggingface_token"),
        ),
    ),
    "DELETE /api/v1/datasets/x": (
        "dataset.remove",
        lambda one: one.send("DELETE", f"datasets/{one.data_set()}"),
    ),
    "POST /datasets/remove/x/": (
        "dataset.remove",
        lambda one: one.post(f"/datasets/remove/{one.data_set()}/"),
    ),
    "POST /datasets/withdraw/x/1/": (
        "dataset.withdraw",
        lambda one: one.post(f"/datasets/withdraw/{one.data_set()}/1/"),
    ),
    "POST /api/v1/datasets/x/versions/1/withdraw": (
        "dataset.withdraw",
        lambda one: one.send("POST", f"datasets/{one.data_set()}/versions/1/withdraw"),
    ),
    "POST /account/": page(
        "/account/",
        "user.password",
        old_password=OWN,
        new_password1=PASSWORD,
        new_password2=PASSWORD,
    ),
    "POST /account/browsers/end/": (
        "session.end",
        lambda one: (one.another_browser(), one.post("/account/browsers/end/")),
    ),
    "POST /models/retry/x/y/": page("/models/retry/f/", "model.retry"),
    "POST /welcome/": page("/welcome/", "key.issue"),
    "POST /api/v1/training/jobs/x/cancel": (
        "job.move",
        lambda one: one.send("POST", f"training/jobs/{one.job('queued')}/cancel"),
    ),
    "POST /api/v1/training/jobs/x/pause": (
        "job.move",
        lambda one: one.send("POST", f"training/jobs/{one.job('queued')}/pause"),
    ),
    "POST /api/v1/training/jobs/x/resume": (
        "job.move",
        lambda one: one.send("POST", f"training/jobs/{one.job('paused')}/resume"),
    ),
    "DELETE /api/v1/training/jobs/x": (
        "job.remove",
        lambda one: one.send("DELETE", f"training/jobs/{one.job('cancelled')}"),
    ),
    "POST /training/remove/x/": (
        "job.remove",
        lambda one: one.post(f"/training/remove/{one.job('cancelled')}/"),
    ),
    "POST /training/change/x/x/": (
        "job.move",
        lambda one: one.post(f"/training/change/{one.job('queued')}/cancel/"),
    ),
    "POST /aliases/new/": ACTS["page: make a name"],
    "POST /aliases/edit/x/y/": ACTS["page: change a name"],
    "POST /aliases/rollback/x/y/": ACTS["page: roll back"],
    "POST /aliases/remove/x/y/": ACTS["page: remove a name"],
    "POST /aliases/share/x/y/": (
        "alias.change",
        lambda one: (
            one.send("PATCH", "aliases/al", {"targets": [{"model": "m"}, {"model": "n"}]}),
            one.post("/aliases/share/al/", share="5"),
        ),
    ),
    "POST /models/own/x/y/": page("/models/own/n/", "model.own", team="crew", visibility="hub"),
    "POST /models/settings/x/y/": page("/models/settings/m/", "model.change", priority="3"),
    "POST /models/verify/x/y/": page("/models/verify/m/", "model.verify"),
    "POST /models/pin/x/y/": ACTS["page: pin a model"],
    "POST /models/cancel/x/y/": ACTS["page: cancel"],
    "POST /models/remove/x/y/": ACTS["page: remove a model"],
    "POST /models/load/x/y/": ACTS["page: load"],
    "POST /models/unload/x/y/": ACTS["page: unload"],
    "POST /keys/new/": ACTS["page: issue a key"],
    "POST /keys/x/revoke/": ACTS["page: revoke a key"],
    "POST /keys/x/rotate/": (
        "key.rotate",
        lambda one: one.post(f"/keys/{one.other.public_id}/rotate/", overlap="0"),
    ),
    "POST /files/remove/x/": ACTS["page: remove a file"],
    "POST /logout/": ACTS["page: sign out"],
    "POST /limits/everyone/save/": page(
        "/limits/everyone/save/", "limit.put", requests_per_minute="7"
    ),
    "POST /limits/save/x/x/y/": page(
        "/limits/save/user/eve/", "limit.put", requests_per_minute="7"
    ),
    "POST /usage/prices/save/": page("/usage/prices/save/", "price.put", model="m", **PRICE),
    "POST /usage/prices/remove/x/y/": (
        "price.drop",
        lambda one: (
            one.post("/usage/prices/save/", model="m", **PRICE),
            one.post("/usage/prices/remove/m/"),
        ),
    ),
}


def changing() -> set[str]:
    return {
        f"{method} {path}"
        for path, entry in paths(get_resolver().url_patterns)
        for method in methods_of(entry) - SAFE
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("route", CALLED)
def test_it_leaves_a_row(route: str, person: MakeUser, settings: Settings) -> None:
    settings.HUB_PRIVATE_UPSTREAMS = True
    action, act = CALLED[route]
    one = Caller(person("ada", "admin", OWN))
    one.prove()
    last = AuditRow.objects.order_by("-seq").values_list("seq", flat=True).first() or 0
    act(one)
    method, path = route.split(" ")
    assert f"{method} {resolve(path).route}" in one.called
    rows = AuditRow.objects.filter(seq__gt=last)
    row = rows.filter(action=action).order_by("-seq").first()
    assert row is not None, list(rows.values_list("action", flat=True))
    assert (row.actor, row.address) == ("ada", "127.0.0.1")
    assert row.actor_kind == ("key" if path.startswith("/api/") else "user")
    assert PASSWORD not in row.before + row.after


def test_each_route_is_called_or_says_why_not() -> None:
    """A new route needs its line; so does one that goes."""
    lines = [*CALLED, *NO_ROW, *ELSEWHERE]
    assert sorted(lines) == sorted(changing())


def test_actions_that_are_only_named_are_there() -> None:
    """The words of the audit page name every action."""
    assert set(ELSEWHERE.values()) <= set(audit_words.ACTIONS)
