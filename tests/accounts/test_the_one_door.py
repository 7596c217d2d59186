"""Authentication: every way in, every way to be refused, and no query when warm."""

import datetime as dt
import hmac
from collections.abc import Mapping

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.db import connection
from django.middleware.csrf import get_token
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import authentication, crypto, keys
from accounts.authentication import Refused, authenticate_now
from accounts.models import ApiKey, User
from accounts.session_store import SessionStore
from inference.models import Model
from tests.accounts.conftest import MakeUser, session_of

pytestmark = pytest.mark.django_db(transaction=True)
HOST = {"host": "testserver"}


def key_of(owner: User, **given: object) -> str:
    return keys.issue(owner, "k", by=session_of(owner), **given)[1]  # type: ignore[arg-type]


def kind_of(headers: authentication.Headers, ip: str = "127.0.0.1", method: str = "POST") -> str:
    with pytest.raises(Refused) as refused:
        authenticate_now(headers, ip, method)
    return refused.value.kind


def passes(
    headers: authentication.Headers,
    ip: str | None,
    method: str = "POST",
    scheme: str = "http",
) -> bool:
    return authenticate_now(headers, ip, method, scheme).is_authenticated


@pytest.fixture
def cookie(person: MakeUser, client: Client) -> str:
    client.force_login(person("browser"))
    return client.cookies[django_settings.SESSION_COOKIE_NAME].value


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "Bearer  {} "])
def test_it_takes_a_bearer_key(person: MakeUser, header: str) -> None:
    owner = person()
    key = key_of(owner)
    principal = authenticate_now({"Authorization": header.format(key)}, None)
    assert (principal.user_id, principal.key_id) == (owner.pk, key[4:16])
    assert principal.allows("inference")
    assert not principal.allows("keys:manage")


def test_it_takes_raw_headers_and_x_api_key(person: MakeUser) -> None:
    key = key_of(person())
    assert authenticate_now([(b"X-Api-Key", key.encode())], None).username == "dev"
    both = [(b"x-api-key", key.encode()), (b"authorization", b"Bearer " + key.encode())]
    assert authenticate_now(both, None).username == "dev"


async def test_it_is_the_same_on_an_event_loop(person: MakeUser) -> None:
    owner = await sync_to_async(person)()
    key = await sync_to_async(key_of)(owner)
    principal = await authentication.authenticate({"x-api-key": key}, "10.0.0.1")
    assert principal.username == "dev"
    with pytest.raises(Refused):
        await authentication.authenticate({}, "10.0.0.1")


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({}, "missing"),
        ({"authorization": "Bearer"}, "missing"),
        ({"authorization": "Bearer "}, "missing"),
        ({"x-api-key": ""}, "missing"),
        ({"authorization": "Basic cm9vdDpyb290"}, "invalid"),
        ({"authorization": "Bearer sk-123"}, "invalid"),
        ({"authorization": f"Bearer {crypto.new_key().plaintext}"}, "invalid"),
        ({"authorization": "Bearer a,Bearer b"}, "invalid"),
        ({"authorization": "Bearer a", "x-api-key": "b"}, "ambiguous"),
        ({"authorization": "Bearer a", "cookie": "sessionid=b"}, "ambiguous"),
        ({"cookie": "sessionid=unknown"}, "invalid"),
        ({"cookie": "other=1"}, "missing"),
    ],
)
def test_it_refuses(headers: Mapping[str, str], kind: str) -> None:
    assert kind_of(headers) == kind


def test_it_answers_400_to_two_credentials_and_401_to_none() -> None:
    status = {}
    for headers in ({"authorization": "Bearer a", "x-api-key": "b"}, {}):
        with pytest.raises(Refused) as refused:
            authenticate_now(headers, None)
        status[refused.value.kind] = refused.value.status
    assert status == {"ambiguous": 400, "missing": 401}


def test_it_refuses_another_secret_under_a_known_id(person: MakeUser) -> None:
    key = key_of(person())
    body = key[:16] + crypto.new_key().plaintext[16:-6]
    forged = body + crypto.checksum(body)
    assert kind_of({"x-api-key": forged}) == "invalid"  # cold
    authenticate_now({"x-api-key": key}, None)
    assert kind_of({"x-api-key": forged}) == "invalid"  # warm


def test_it_compares_in_constant_time(person: MakeUser, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of(person())
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def spy(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    authenticate_now({"x-api-key": key}, None)  # cold: by the row
    authenticate_now({"x-api-key": key}, None)  # warm: by the cache
    digest = bytes(ApiKey.objects.get().digest)
    assert compared.count((digest, digest)) >= 3


def test_it_ends_with_the_expiry(person: MakeUser) -> None:
    owner = person()
    key = key_of(owner, expires_at=timezone.now() + dt.timedelta(hours=1))
    assert passes({"x-api-key": key}, None)
    row = ApiKey.objects.get()
    row.expires_at = timezone.now()
    row.save()
    assert kind_of({"x-api-key": key}) == "expired"


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fd00::5", True),
        ("fd00::5%eth0", True),
        ("11.1.2.3", False),
        ("::1", False),
        ("", False),
        (None, False),
        ("unix", False),
    ],
)
def test_it_keeps_to_the_networks(person: MakeUser, address: str, inside: bool) -> None:
    headers = {"x-api-key": key_of(person(), networks=["10.0.0.0/8", "fd00::/64"])}
    if inside:
        assert passes(headers, address)
    else:
        assert kind_of(headers, address) == "network"


def test_it_says_which_models_are_allowed(person: MakeUser) -> None:
    owner = person()
    for name in "ab":
        Model.objects.create(name=name, kind="llm", engine="fake", path="/m")
    some = authenticate_now({"x-api-key": key_of(owner, models=["a", "b"])}, None)
    every = authenticate_now({"x-api-key": key_of(owner)}, None)
    assert [some.allows_model(name) for name in "abc"] == [True, True, False]
    assert some.allows_model("alias", "a")
    assert every.allows_model("c")


def test_it_cuts_a_key_down_to_the_role_of_now(person: MakeUser) -> None:
    owner = person(role="trainer")
    headers = {"x-api-key": key_of(owner, wanted=["training", "models:read"])}
    assert authenticate_now(headers, None).allows("training")
    owner.role = User.Role.VIEWER
    owner.save()
    assert authenticate_now(headers, None).scopes == {"models:read"}


def test_it_refuses_keys_of_the_disabled_and_the_deleted(person: MakeUser) -> None:
    owner = person()
    headers = {"x-api-key": key_of(owner)}
    assert passes(headers, None)
    owner.is_active = False
    owner.save()
    assert kind_of(headers) == "disabled"
    owner.delete()
    assert kind_of(headers) == "invalid"


def test_it_makes_no_query_when_warm(person: MakeUser, cookie: str) -> None:
    by_key = {"x-api-key": key_of(person())}
    by_session = {"cookie": f"sessionid={cookie}"}
    for headers in (by_key, by_session):
        authenticate_now(headers, None, "GET")
    with CaptureQueriesContext(connection) as queries:
        for headers in (by_key, by_session):
            authenticate_now(headers, None, "GET")
    assert len(queries) == 0


@pytest.mark.usefixtures("away")
def test_it_works_without_redis(person: MakeUser) -> None:
    owner = person()
    headers = {"x-api-key": key_of(owner)}
    assert passes(headers, None)
    keys.revoke(ApiKey.objects.get(), by=session_of(owner))
    assert kind_of(headers) == "revoked"


def test_it_takes_a_session_with_all_rights_of_the_role(cookie: str) -> None:
    principal = authenticate_now({"cookie": f"a=b; sessionid={cookie}"}, None, "GET")
    assert (principal.username, principal.key_id) == ("browser", None)
    assert principal.scopes == User.objects.get().scopes


def test_it_ends_a_session_at_sign_out_and_password_change(cookie: str) -> None:
    headers = {"cookie": f"sessionid={cookie}"}
    assert passes(headers, None, "GET")
    user = User.objects.get()
    user.set_password("another pass phrase 8")
    user.save()
    assert kind_of(headers, method="GET") == "invalid"


def test_it_ends_a_session_that_was_deleted(cookie: str) -> None:
    headers = {"cookie": f"sessionid={cookie}"}
    assert passes(headers, None, "GET")
    SessionStore(cookie).delete()
    assert kind_of(headers, method="GET") == "invalid"


class TestSessionsAndForeignSites:
    """An unsafe method by session passes only with Django's CSRF proof."""

    @pytest.fixture
    def proof(self, cookie: str) -> dict[str, str]:
        request = RequestFactory().get("/")
        token = get_token(request)
        secret = request.META["CSRF_COOKIE"]
        return {
            **HOST,
            "cookie": f"sessionid={cookie}; csrftoken={secret}",
            "x-csrftoken": token,
            "origin": "http://testserver",
        }

    def test_it_passes_with_token_and_origin(self, proof: dict[str, str]) -> None:
        assert authenticate_now(proof, None, "POST").username == "browser"

    @pytest.mark.parametrize("missing", ["x-csrftoken", "csrftoken"])
    def test_it_refuses_without_the_token(self, proof: dict[str, str], missing: str) -> None:
        proof.pop(missing, None)
        if missing == "csrftoken":
            proof["cookie"] = proof["cookie"].split(";")[0]
        assert kind_of(proof, method="POST") == "csrf"

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://testserver"])
    def test_it_refuses_a_foreign_origin(self, proof: dict[str, str], origin: str) -> None:
        assert kind_of({**proof, "origin": origin}, method="DELETE") == "csrf"

    def test_it_refuses_a_request_without_a_host(self, proof: dict[str, str]) -> None:
        del proof["host"]
        assert kind_of(proof, method="POST") == "csrf"

    def test_it_refuses_a_wrong_token(self, proof: dict[str, str]) -> None:
        assert kind_of({**proof, "x-csrftoken": "x" * 64}, method="PUT") == "csrf"

    def test_it_needs_a_referer_under_https(self, proof: dict[str, str]) -> None:
        del proof["origin"]
        with pytest.raises(Refused):
            authenticate_now(proof, None, "POST", scheme="https")
        proof["referer"] = "https://testserver/page"
        assert passes(proof, None, "POST", scheme="https")

    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    def test_it_asks_no_proof_of_safe_methods(self, proof: dict[str, str], method: str) -> None:
        assert passes({"cookie": proof["cookie"]}, None, method)

    def test_it_takes_any_method_for_unsafe_by_default(self, proof: dict[str, str]) -> None:
        with pytest.raises(Refused):
            authenticate_now({"cookie": proof["cookie"]}, None)


@pytest.mark.parametrize("headers", [["sessionid=a; sessionid=b"], ["sessionid=a", "sessionid=b"]])
def test_two_sessions_are_two_credentials(headers: list[str]) -> None:
    assert kind_of([(b"cookie", one.encode()) for one in headers]) == "ambiguous"


def test_the_same_session_twice_is_one_credential() -> None:
    assert kind_of([(b"cookie", b"sessionid=a; sessionid=a; other=b")]) == "invalid"
