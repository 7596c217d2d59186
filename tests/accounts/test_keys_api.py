"""`/api/v1/keys` over HTTP: scopes, envelope, nothing unknown obeyed, nothing foreign seen."""

from typing import Any

import pytest
from django.test import Client

from accounts import keys, scopes, teams
from accounts.models import ApiKey, Role, User
from accounts.permissions import MANAGEMENT
from tests.accounts.conftest import MakeUser, session_of

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/keys"


def client_of(owner: User, *asked: str, **given: Any) -> Client:
    wanted = asked or tuple(owner.scopes)
    _, plaintext = keys.issue(owner, "api", wanted, by=session_of(owner), **given)
    return Client(headers={"authorization": f"Bearer {plaintext}"})


def error_of(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    body: dict[str, Any] = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    error: dict[str, Any] = body["error"]
    return error


def post(client: Client, body: Any, url: str = URL) -> Any:
    return client.post(url, body, content_type="application/json")


def test_it_issues_lists_shows_and_revokes(person: MakeUser) -> None:
    client = client_of(person())
    made = post(client, {"name": "ci", "scopes": ["inference"], "networks": ["10.0.0.0/8"]})
    assert made.status_code == 201
    assert made["Cache-Control"] == "no-store"
    plaintext, key_id = made.json()["key"], made.json()["id"]
    assert keys.lookup(plaintext) == ApiKey.objects.get(public_id=key_id)
    listing = client.get(URL).json()
    assert [one["name"] for one in listing["results"]] == ["ci", "api"]
    assert plaintext not in str(listing)
    assert client.delete(f"{URL}/{key_id}").json()["state"] == "revoked"
    assert client.get(f"{URL}/{key_id}").json()["state"] == "revoked"
    gone = Client(headers={"x-api-key": plaintext}).get("/api/v1/me")
    assert error_of(gone, 401)["code"] == "invalid_api_key"


def test_it_pages(person: MakeUser) -> None:
    owner = person()
    client = client_of(owner)
    for number in range(4):
        keys.issue(owner, f"k{number}", by=session_of(owner))
    page = client.get(URL, {"page": 2, "page_size": 2}).json()
    assert (page["count"], [one["name"] for one in page["results"]]) == (5, ["k1", "k0"])
    error_of(client.get(URL, {"page": 99}), 404)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "name", "missing_required_parameter"),
        ({"name": ""}, "name", "invalid_value"),
        ({"name": "k", "owner": "root"}, "owner", "unknown_parameter"),
        ({"name": "k", "is_staff": True}, "is_staff", "unknown_parameter"),
        ({"name": "k", "digest": "00"}, "digest", "unknown_parameter"),
        ({"name": "k", "scopes": ["root"]}, "scopes", "invalid_value"),
        ({"name": "k", "scopes": "inference"}, "scopes", "invalid_value"),
        ({"name": "k", "scopes": [3, {}]}, "scopes.0", "invalid_value"),
        ({"name": "k", "networks": ["x"]}, "networks", "invalid_value"),
        ({"name": "k", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at", "invalid_value"),
        ({"name": "k", "expires_at": "soon"}, "expires_at", "invalid_value"),
    ],
)
def test_it_names_what_is_wrong(
    person: MakeUser, body: dict[str, Any], param: str, code: str
) -> None:
    error = error_of(post(client_of(person()), body), 400)
    assert (error["param"], error["code"]) == (param, code)
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("ordering=name", "ordering", "unknown_parameter"),
        ("page_size=1000000000", "page_size", "invalid_value"),
        ("page_size=1e9", "page_size", "invalid_value"),
        ("page_size=0", "page_size", "invalid_value"),
    ],
)
def test_it_ignores_no_query_parameter(person: MakeUser, query: str, param: str, code: str) -> None:
    error = error_of(client_of(person()).get(f"/api/v1/keys?{query}"), 400)
    assert (error["param"], error["code"]) == (param, code)


@pytest.mark.parametrize("body", ["", "{", "[]", '"x"', "null", "\x00", "[" * 100_000])
def test_it_survives_any_body(person: MakeUser, body: str) -> None:
    error_of(post(client_of(person()), body), 400)


def test_it_grants_only_what_the_caller_holds(person: MakeUser) -> None:
    client = client_of(person(), "keys:manage", "models:read")
    error = error_of(post(client, {"name": "k", "scopes": ["inference"]}), 403)
    assert (error["param"], error["code"]) == ("scopes", "permission_denied")
    assert post(client, {"name": "k"}).json()["scopes"] == ["models:read"]


def test_it_needs_the_scope(person: MakeUser) -> None:
    client = client_of(person(), "inference")
    for response in (client.get(URL), post(client, {"name": "k"}), client.delete(f"{URL}/x")):
        assert "scope keys:" in error_of(response, 403)["message"]
    assert client.get("/api/v1/me").json()["scopes"] == sorted(scopes.WIDE["inference"])


def test_it_hides_foreign_keys(person: MakeUser) -> None:
    owner, other, admin = person("a"), person("b"), person("c", "admin")
    key, _ = keys.issue(owner, "secret plan", by=session_of(owner))
    url = f"{URL}/{key.public_id}"
    foreign = client_of(other)
    error_of(foreign.get(url), 404)
    error_of(foreign.delete(url), 404)
    assert "secret plan" not in str(foreign.get(URL).json())
    assert client_of(admin).delete(url).json()["state"] == "revoked"


def test_a_key_reaches_no_key_of_another_team_of_its_owner(person: MakeUser) -> None:
    owner = person()
    red, blue = teams.create("red"), teams.create("blue")
    teams.add(red, owner, None)
    teams.add(blue, owner, None)
    key, plaintext = keys.issue(owner, "of blue", by=session_of(owner), team=blue)
    own, _ = keys.issue(owner, "of red", by=session_of(owner), team=red)
    client, url = client_of(owner, team=red), f"{URL}/{key.public_id}"
    names = {one["name"] for one in client.get(URL).json()["results"]}
    assert names == {"of red", "api"}
    error_of(client.get(url), 404)
    error_of(client.delete(url), 404)
    error_of(post(client, {}, f"{url}/rotate"), 404)
    found = keys.lookup(plaintext)
    assert found is not None
    assert found.state == "active"
    assert post(client, {}, f"{URL}/{own.public_id}/rotate").status_code == 201
    session = Client()
    session.force_login(owner)
    assert session.get(url).json()["team"] == "blue"


def test_a_key_that_manages_people_ends_other_teams_keys_and_takes_none(person: MakeUser) -> None:
    Role.objects.create(name="hr", scopes=["admin:users", *scopes.ROLES["developer"]])
    owner, blue = person("a"), teams.create("blue")
    teams.add(blue, owner, None)
    key, _ = keys.issue(owner, "k", by=session_of(owner), team=blue)
    client, url = client_of(person("hr", "hr")), f"{URL}/{key.public_id}"
    error_of(post(client, {}, f"{url}/rotate"), 403)
    assert client.delete(url).json()["state"] == "revoked"


def test_it_issues_for_others_only_by_an_admin(person: MakeUser) -> None:
    person("a")
    for name in ("a", "nobody"):
        error_of(post(client_of(person(f"x{name}")), {"name": "k", "user": name}), 403)
    client = client_of(person("c", "admin"))
    assert post(client, {"name": "k", "user": "a"}).json()["owner"] == "a"
    assert error_of(post(client, {"name": "k", "user": "nobody"}), 400)["param"] == "user"


def test_it_refuses_two_credentials_and_none(person: MakeUser) -> None:
    client = client_of(person())
    error_of(client.get(URL, headers={"x-api-key": "hub_other"}), 400)
    refused = Client().get(URL)
    error_of(refused, 401)
    assert refused["WWW-Authenticate"].startswith("Bearer")


def test_a_session_needs_the_csrf_token(person: MakeUser) -> None:
    client = Client(enforce_csrf_checks=True, headers={"host": "testserver"})
    client.force_login(person())
    assert client.get(URL).status_code == 200
    assert "CSRF" in error_of(post(client, {"name": "k"}), 403)["message"]
    client.cookies["csrftoken"] = secret = "a" * 32
    headers = {"x-csrftoken": secret, "origin": "http://testserver"}
    body = {"name": "k"}
    made = client.post(URL, body, content_type="application/json", headers=headers)
    assert made.status_code == 201
    foreign = {**headers, "origin": "http://evil.example"}
    error_of(client.post(URL, body, content_type="application/json", headers=foreign), 403)


def test_it_throttles_one_caller(person: MakeUser, valkey: Any) -> None:
    client, other = client_of(person()), client_of(person("other"))
    client.get(URL)
    [name] = valkey.keys("hub:throttle:api:*")
    valkey.set(name, MANAGEMENT.tries, keepttl=True)
    refused = client.get(URL)
    error_of(refused, 429)
    assert 1 <= int(refused["Retry-After"]) <= MANAGEMENT.window_s
    assert other.get(URL).status_code == 200


@pytest.mark.parametrize(
    ("method", "status"), [("put", 405), ("patch", 405), ("options", 405), ("trace", 405)]
)
def test_it_answers_other_methods_in_the_envelope(
    person: MakeUser, method: str, status: int
) -> None:
    response = getattr(client_of(person()), method)(URL)
    assert response.status_code in {status, 403}
    assert "error" in response.json()


def test_the_schema_and_its_page_are_for_those_who_are_known(person: MakeUser) -> None:
    for url in ("/api/schema", "/api/docs"):
        error_of(Client().get(url), 401)
    page = Client().get("/api/docs", headers={"accept": "text/html"})
    assert (page.status_code, page["Location"]) == (302, "/login/?next=/api/docs")
    client = client_of(person(), "inference")
    schema = client.get("/api/schema", {"format": "json"}).json()
    assert "/api/v1/keys" in schema["paths"]
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "apiKey", "session"}
    html = client.get("/api/docs").content.decode()
    assert "<style" not in html
    assert all("src=" in tag for tag in html.split("<script")[1:])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 1),
        ("name", True),
        ("name", ["a"]),
        ("scopes", [1]),
        ("scopes", [["inference"]]),
        ("scopes", "inference"),
        ("expires_at", 4_000_000_000),
        ("user", False),
    ],
)
def test_it_converts_no_value_to_another_type(person: MakeUser, field: str, value: Any) -> None:
    client = client_of(person())
    before = ApiKey.objects.count()
    error = error_of(post(client, {"name": "ci", field: value}), 400)
    assert error["param"].split(".")[0] == field
    assert ApiKey.objects.count() == before


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, identity"])
def test_it_reads_no_coded_body(person: MakeUser, coding: str) -> None:
    headers = {"content-encoding": coding}
    error = error_of(
        client_of(person()).post(
            URL, {"name": "ci"}, content_type="application/json", headers=headers
        ),
        415,
    )
    assert "Content-Encoding" in error["message"]


def test_it_takes_identity_for_no_coding(person: MakeUser) -> None:
    headers = {"content-encoding": "identity"}
    made = client_of(person()).post(
        URL, {"name": "ci"}, content_type="application/json", headers=headers
    )
    assert made.status_code == 201
