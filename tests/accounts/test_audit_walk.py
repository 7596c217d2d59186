"""Whatever changes something writes a row of the audit log: by route, by page and by command."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, get_resolver
from pytest_django import Settings

from accounts import keys
from accounts.models import ApiKey, AuditRow, User
from hub import keyring
from inference.models import Alias, Model
from tests.accounts.conftest import PASSWORD, MakeUser, session_of
from tests.accounts.test_every_route import paths
from training import files, store

SAFE = {"GET", "HEAD", "OPTIONS", "TRACE"}
# The verbs of a noun, wherever they are called, write rows of these families.
FAMILIES: dict[str, set[str]] = {
    "keys": {"key"},
    "auth": {"token"},
    "limits": {"limit"},
    "prices": {"price"},
    "models": {"model"},
    "aliases": {"alias"},
    "secrets": {"secret"},
    "uploads": {"model"},
    "oauth": {"application", "token"},
    "login": {"login", "factor"},
    "logout": {"login"},
    "account": {"user", "factor", "session", "application", "identity", "token"},
    "access": {"sign_in_rules", "provider", "user", "team", "role", "service_account"},
    "apps": {"application"},
    "applications": {"application"},
    "providers": {"provider"},
    "setup": {"user", "login"},
    "welcome": {"key"},
    "usage": {"price"},
    "users": {"user"},
    "teams": {"team"},
    "roles": {"role"},
    "service_accounts": {"service_account", "user"},
    "datasets": {"dataset"},
    "files": {"file"},
    "training": {"training", "job"},
    "evaluations": {"evaluation"},
    "mlflow": {"mlflow"},
}
# Routes that take a body and change nothing that others see.
CHANGES_NOTHING = {
    "/language/",  # a cookie of the visitor's own
    "/audit/verify/",  # walks the chain
    "/api/v1/audit/verify",
}


def noun_of(path: str) -> str:
    parts = [part for part in path.split("/") if part]
    return parts[2] if parts[:2] == ["api", "v1"] else parts[0]


def methods_of(entry: URLPattern) -> set[str]:
    """Give the methods that a view lets in, from its class or from its decorators."""
    view: Any = entry.callback
    kind = getattr(view, "cls", None) or getattr(view, "view_class", None)
    if kind is not None and hasattr(kind, "scopes"):
        return set(kind.scopes)
    if kind is not None:
        return {name.upper() for name in kind.http_method_names if hasattr(kind, name)}
    while view is not None:
        free = view.__code__.co_freevars if hasattr(view, "__code__") else ()
        if "request_method_list" in free:
            names: Iterable[str] = view.__closure__[free.index("request_method_list")].cell_contents
            return set(names)
        view = getattr(view, "__wrapped__", None)
    return {"GET", "POST"}  # it says nothing: then it lets everything in


CHANGING = sorted(
    path for path, entry in paths(get_resolver().url_patterns) if methods_of(entry) - SAFE
)


def test_it_finds_the_routes_that_change_something() -> None:
    assert {"/api/v1/keys", "/api/v1/models/x/y", "/aliases/new/", "/login/"} <= set(CHANGING)
    assert "/api/v1/me" not in CHANGING


@pytest.mark.parametrize("path", CHANGING)
def test_every_noun_that_changes_has_rows_of_its_own(path: str) -> None:
    """A new noun needs an audited verb, a line in FAMILIES, and a call below."""
    assert path in CHANGES_NOTHING or noun_of(path) in FAMILIES, path


# --- each verb, called from outside ---------------------------------------------------------------

REMOTE = {
    "source": "remote",
    "base_url": "https://127.0.0.1:9/v1",
    "upstream_model": "m",
    "api_key": "sk-plum-tart",
}
MODEL = {"kind": "llm", "engine": "fake", "path": "/nowhere", "size_bytes": 1}
FILE = {"path": "model.gguf", "size_bytes": 5}


class World:
    """An admin at a browser and with a key, and one object of each kind."""

    def __init__(self, admin: User) -> None:
        self.key, plaintext = keys.issue(admin, "walk", sorted(admin_scopes(admin)), by=of(admin))
        self.other, _ = keys.issue(admin, "other", ["models:read"], by=of(admin))
        self.api = Client(headers={"x-api-key": plaintext})
        self.page = Client()
        self.page.force_login(admin)
        self.model = Model.objects.create(name="m", **MODEL)
        self.second = Model.objects.create(name="n", **MODEL)
        self.arriving = Model.objects.create(name="a", state=Model.State.QUEUED, **MODEL)
        self.alias = Alias.objects.create(
            name="al", target=self.model, former=[{"model": "n", "weight": 1.0}]
        )

    def send(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.api.generic(
            method, f"/api/v1/{path}", json.dumps(body or {}), "application/json"
        )
        assert answer.status_code < 400 or "load" in path, answer.content
        return answer

    def post(self, path: str, **fields: Any) -> Any:
        answer = self.page.post(path, fields)
        assert answer.status_code < 400 or "load" in path, (path, answer.status_code)
        return answer

    def upload(self) -> str:
        answer = self.send("POST", "uploads", {"name": "up", "files": [FILE]})
        return str(answer.json()["id"])

    def file(self) -> str:
        by = of(self.other.owner)
        with store.Incoming() as incoming:
            incoming.write(b"{}")
            return str(files.take(incoming, by, "plum.jsonl", "batch").pk)


def of(user: User) -> Any:
    return session_of(user)


def admin_scopes(user: User) -> set[str]:
    return set(of(user).scopes)


Act = Callable[[World], Any]
TARGETS = {"targets": [{"model": "n"}]}
ACTS: dict[str, tuple[str, Act]] = {
    "issue a key": ("key.issue", lambda w: w.send("POST", "keys", {"name": "k"})),
    "revoke a key": ("key.revoke", lambda w: w.send("DELETE", f"keys/{w.other.public_id}")),
    "add a model": ("model.add", lambda w: w.send("POST", "models/add", {"name": "r", **REMOTE})),
    "change a model": ("model.change", lambda w: w.send("PATCH", "models/m", {"priority": 3})),
    "cancel a model": ("model.cancel", lambda w: w.send("POST", "models/a/cancel")),
    "verify a model": ("model.verify", lambda w: w.send("POST", "models/m/verify")),
    "load a model": ("model.load", lambda w: w.send("POST", "models/m/load")),
    "unload a model": ("model.unload", lambda w: w.send("POST", "models/m/unload")),
    "remove a model": ("model.remove", lambda w: w.send("DELETE", "models/n")),
    "make a name": ("alias.create", lambda w: w.send("POST", "aliases", {"name": "b", **TARGETS})),
    "change a name": ("alias.change", lambda w: w.send("PATCH", "aliases/al", TARGETS)),
    "roll a name back": ("alias.roll_back", lambda w: w.send("POST", "aliases/al/rollback")),
    "remove a name": ("alias.remove", lambda w: w.send("DELETE", "aliases/al")),
    "set a secret": (
        "secret.set",
        lambda w: w.send("PUT", "secrets/huggingface_token", {"value": "hf_plum"}),
    ),
    "begin an upload": ("model.add", lambda w: w.upload()),
    "give an upload up": ("model.remove", lambda w: w.send("DELETE", f"uploads/{w.upload()}")),
    "set a limit": (
        "limit.put",
        lambda w: w.send("PATCH", "limits/everyone", {"requests_per_minute": 7}),
    ),
    "page: make a name": (
        "alias.create",
        lambda w: w.post("/aliases/new/", name="c", model="m", weight="1"),
    ),
    "page: change a name": (
        "alias.change",
        lambda w: w.post("/aliases/edit/al/", model="n", weight="1"),
    ),
    "page: roll back": ("alias.roll_back", lambda w: w.post("/aliases/rollback/al/")),
    "page: remove a name": ("alias.remove", lambda w: w.post("/aliases/remove/al/")),
    "page: pin a model": ("model.change", lambda w: w.post("/models/pin/m/", pinned="yes")),
    "page: cancel": ("model.cancel", lambda w: w.post("/models/cancel/a/")),
    "page: remove a model": ("model.remove", lambda w: w.post("/models/remove/n/")),
    "page: load": ("model.load", lambda w: w.post("/models/load/m/")),
    "page: unload": ("model.unload", lambda w: w.post("/models/unload/m/")),
    "page: issue a key": (
        "key.issue",
        lambda w: w.post("/keys/new/", name="k", scopes="models:read", lifetime="0"),
    ),
    "page: revoke a key": (
        "key.revoke",
        lambda w: w.post(f"/keys/{w.other.public_id}/revoke/"),
    ),
    "page: remove a file": ("file.remove", lambda w: w.post(f"/files/remove/{w.file()}/")),
    "page: sign out": ("login.end", lambda w: w.post("/logout/")),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ACTS)
def test_each_verb_says_who_did_it(name: str, person: MakeUser, settings: Settings) -> None:
    settings.HUB_PRIVATE_UPSTREAMS = True
    action, act = ACTS[name]
    world = World(person("ada", "admin"))
    last = AuditRow.objects.order_by("-seq").values_list("seq", flat=True).first() or 0
    act(world)
    row = AuditRow.objects.filter(seq__gt=last, action=action).order_by("seq").first()
    assert row is not None, list(AuditRow.objects.filter(seq__gt=last).values("action"))
    assert (row.actor, row.address) == ("ada", "127.0.0.1")
    assert row.actor_kind == ("user" if name.startswith("page:") else "key")
    assert "plum" not in row.before + row.after


def own_peppers(folder: Path) -> list[bytes]:
    return [pepper.encode() for pepper in keyring.ring(folder, "key_pepper", None)]


COMMANDS: dict[str, tuple[str, list[str]]] = {
    "create_admin": ("user.create", ["--username", "eve"]),
    "createsuperuser": ("user.create", ["--username", "eve"]),
    "create_user": ("user.create", ["--username", "eve"]),
    "changepassword": ("user.change", ["ada"]),
    "create_key": ("key.issue", ["--user", "ada", "--name", "k"]),
    "set_secret": ("secret.set", ["huggingface_token"]),
    "rotate_keys": ("key_ring.rotate", []),
    "rotate_keys --peppers": ("key_ring.pepper.renew", []),
    "audit_export": ("audit.export", []),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_that_it_was_the_command_line(
    name: str, person: MakeUser, settings: Settings, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    person("ada", "admin")
    settings.HUB_SECRETS = tmp_path
    settings.HUB_FIELD_KEYS = keyring.ring(tmp_path, "field_key", None)
    settings.HUB_FIELD_KEY_FILE = tmp_path / "field_key"
    settings.HUB_KEY_PEPPERS = own_peppers(tmp_path)
    settings.HUB_KEY_PEPPER_FILE = tmp_path / "key_pepper"
    action, given = COMMANDS[name]
    (tmp_path / "stdin").write_text(f"{PASSWORD}\n")
    last = AuditRow.objects.order_by("-seq").values_list("seq", flat=True).first() or 0
    with (tmp_path / "stdin").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        call_command(*name.split(), *given)
    row = AuditRow.objects.filter(seq__gt=last, action=action).first()
    assert row is not None
    assert row.actor_kind == "command"
    assert PASSWORD not in row.after
    assert ApiKey.objects.filter(name="k").exists() == (name == "create_key")
