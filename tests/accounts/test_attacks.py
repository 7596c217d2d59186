"""Attacks that systems of this kind fell to, each from outside: nothing opens, nothing breaks."""

import hmac
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient, Client

from accounts import authentication, crypto, keys
from accounts.models import ApiKey, User
from inference.models import Alias, Model
from tests.accounts.conftest import MakeUser, session_of

pytestmark = pytest.mark.django_db
SQL = [
    "' OR '1'='1",
    "hub_' UNION SELECT password FROM accounts_user --",
    'hub_"; DROP TABLE accounts_user; --',
    "hub_%",
    "hub_\\x00",
]
FORWARDED = {
    "x-forwarded-for": "10.0.0.1",
    "forwarded": "for=10.0.0.1",
    "x-real-ip": "10.0.0.1",
    "x-client-ip": "10.0.0.1",
    "true-client-ip": "10.0.0.1",
}


@pytest.fixture
def owner(person: MakeUser) -> User:
    return person("ann", "operator")


@pytest.fixture
def model(db: None) -> Model:
    return Model.objects.create(name="m", kind="llm", engine="fake", path="/nowhere")


def with_key(owner: User, *scopes: str, **narrow: Any) -> Client:
    _, plaintext = keys.issue(owner, "k", scopes or None, by=session_of(owner), **narrow)
    return Client(headers={"x-api-key": plaintext})


def send(client: Client, method: str, path: str, body: Any = None) -> Any:
    return client.generic(method, f"/api/v1/{path}", json.dumps(body or {}), "application/json")


@pytest.mark.parametrize("text", SQL)
@pytest.mark.parametrize("header", ["authorization", "x-api-key", "cookie"])
def test_sql_in_a_credential_is_a_wrong_credential(text: str, header: str, owner: User) -> None:
    value = {"authorization": f"Bearer {text}", "cookie": f"sessionid={text}"}.get(header, text)
    answer = Client(headers={header: value}).get("/api/v1/me")
    assert answer.status_code == 401
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert User.objects.filter(pk=owner.pk).exists()


@pytest.mark.parametrize("path", ["keys?page=1' OR 1=1", "models/' OR 1=1 --", "aliases/%00"])
def test_sql_in_a_path_or_query_finds_nothing(path: str, owner: User) -> None:
    assert with_key(owner, "keys:manage", "models:read").get(f"/api/v1/{path}").status_code in {
        400,
        404,
    }


@pytest.mark.parametrize("header", FORWARDED)
def test_a_stranger_cannot_say_where_they_come_from(header: str, owner: User) -> None:
    """Only the server applies `X-Forwarded-For`, and only of trusted proxies."""
    client = with_key(owner, "models:read", networks=["10.0.0.0/8"])
    answer = client.get("/api/v1/me", headers={header: FORWARDED[header]})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "testserver@evil.example"},
        {"host": "testserver", "x-forwarded-host": "evil.example"},
        {"host": "testserver", "x-original-url": "/api/v1/keys", "x-rewrite-url": "/api/v1/keys"},
    ],
)
def test_no_link_or_route_is_made_of_a_header(headers: dict[str, str], owner: User) -> None:
    client = Client(headers=headers)
    client.force_login(owner)
    answer = client.get("/keys/", HTTP_HOST=headers["host"])
    assert answer.status_code in {200, 400}
    assert b"evil.example" not in answer.content
    assert "evil.example" not in answer.headers.get("Location", "")


def test_two_credentials_are_one_too_many(owner: User) -> None:
    first, second = (keys.issue(owner, "k", by=session_of(owner))[1] for _ in range(2))
    both = {"authorization": f"Bearer {first}", "x-api-key": second}
    assert Client(headers=both).get("/api/v1/me").status_code == 400
    browser = Client(headers={"x-api-key": first})
    browser.force_login(owner)
    assert browser.get("/api/v1/me").status_code == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("keys", {"name": "k", "owner": "root"}),
        ("keys", {"name": "k", "is_staff": True}),
        ("keys", {"name": "k", "digest": "00"}),
        ("keys", {"name": "k", "expires": None, "last_used_at": "2020-01-01"}),
        ("models/m", {"path": "/etc"}),
        ("models/m", {"engine": "llm_gguf"}),
        ("models/m", {"trust_remote_code": True}),
        ("models/m", {"chat_template": "{{ x }}"}),
        ("aliases/al", {"target_id": 1}),
        ("aliases/al", {"name": "other"}),
    ],
)
def test_a_field_that_is_not_theirs_is_refused(
    path: str, body: dict[str, Any], owner: User, model: Model
) -> None:
    Alias.objects.create(name="al", target=model)
    client = with_key(owner, "keys:manage", "models:write", "models:read")
    before = ApiKey.objects.count()
    answer = send(client, "POST" if path == "keys" else "PATCH", path, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in {"unknown_parameter", "invalid_value"}
    assert ApiKey.objects.count() == before
    model.refresh_from_db()
    assert (model.path, model.engine) == ("/nowhere", "fake")


def test_nobody_mints_what_they_do_not_hold(owner: User, person: MakeUser) -> None:
    client = with_key(owner, "keys:manage")
    for wanted in (["admin:users"], ["system:manage"], ["*"], ["admin:*"], ["inference"]):
        answer = send(client, "POST", "keys", {"name": "k", "scopes": wanted})
        assert answer.status_code in {400, 403}, wanted
    other = person("root", "admin")
    answer = send(client, "POST", "keys", {"name": "k", "user": other.username})
    assert answer.status_code == 403


def test_another_ones_objects_are_not_there(owner: User, person: MakeUser) -> None:
    eve = person("eve", "developer")
    key, _ = keys.issue(owner, "theirs", by=session_of(owner))
    client = with_key(eve, "keys:manage")
    answers = [send(client, method, f"keys/{key.public_id}") for method in ("GET", "DELETE")]
    nothing = send(client, "GET", "keys/AAAAAAAAAAAA")
    assert {answer.status_code for answer in answers} == {404}
    assert answers[0].json() == nothing.json()
    key.refresh_from_db()
    assert key.revoked_at is None


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://testserver:81"])
def test_a_foreign_page_changes_nothing(origin: str, owner: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(owner)
    for path in ("/aliases/new/", "/keys/new/", "/logout/"):
        assert browser.post(path, {"name": "x"}, headers={"origin": origin}).status_code == 403
    answer = browser.post("/api/v1/keys", "{}", "application/json", headers={"origin": origin})
    assert answer.status_code == 403


def test_unknown_and_known_keys_are_compared_alike(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In constant time by construction: every well-formed key ends in `compare_digest`."""
    key, plaintext = keys.issue(owner, "k", by=session_of(owner))
    compared: list[int] = []
    real = hmac.compare_digest

    def counted(left: bytes, right: bytes) -> bool:
        compared.append(len(left))
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    stranger = crypto.new_key().plaintext
    body = plaintext[:16] + stranger[16:-6]
    forged = body + crypto.checksum(body)
    for text in (plaintext, stranger, forged):
        compared.clear()
        keys.lookup(text)
        assert compared == [32], text == stranger
    assert keys.lookup(forged) is None
    assert keys.lookup(plaintext) == key


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5_000, '{"a":' * 50_000, "NaN", "\\ud800"])
def test_a_hostile_default_is_refused_and_breaks_nothing(
    text: str, owner: User, model: Model
) -> None:
    browser = Client()
    browser.force_login(owner)
    fields = {"name": "al", "model": "m", "weight": "1", "temperature": text}
    assert browser.post("/aliases/new/", fields).status_code == 400
    assert not Alias.objects.exists()


def test_a_forged_cache_entry_needs_the_whole_key(owner: User) -> None:
    """The cache is found by the public id, which is no secret: the rest is compared each time."""
    _, plaintext = keys.issue(owner, "k", by=session_of(owner))
    authentication.authenticate_now({"x-api-key": plaintext}, "127.0.0.1")
    body = plaintext[:16] + crypto.new_key().plaintext[16:-6]
    with pytest.raises(authentication.Refused, match="Incorrect"):
        authentication.authenticate_now({"x-api-key": body + crypto.checksum(body)}, "127.0.0.1")


@pytest.mark.django_db(transaction=True)
async def test_a_page_that_waits_refuses_as_others_do(person: MakeUser) -> None:
    """The audit log asks the database who it was, which an event loop must not."""
    client = AsyncClient()
    await client.aforce_login(await sync_to_async(person)("vic", "viewer"))
    for path in ("/mlflow/", "/mlflow/get-artifact?path=../../secrets/secret_key&run_uuid=x"):
        assert (await client.get(path)).status_code == 403
