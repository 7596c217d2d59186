"""Tokens of API clients: got with a password or a key, short, refreshed once, ended at once, not forged."""

import base64
import datetime as dt
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import factors, jwts, keys, quota, strength, throttle, tokens
from accounts.authentication import Refused, authenticate_now
from accounts.models import ApiKey, AuditRow, Grant, Limit, User
from accounts.principals import Principal
from accounts.redaction import clean
from hub.config import HubConfig, RateLimits
from tests.accounts.conftest import PASSWORD, MakeUser, session_of
from tests.accounts.signing import code_of, give_app

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ann(person: MakeUser) -> User:
    return person("ann", password=PASSWORD)


def ask(body: dict[str, Any], path: str = "token", **headers: str) -> Any:
    client = Client(headers=headers)
    return client.post(f"/api/v1/auth/{path}", body, content_type="application/json")


def sign_in(**more: Any) -> dict[str, Any]:
    answer = ask({"username": "ann", "password": PASSWORD, **more})
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def who(token: str, ip: str = "10.0.0.1") -> Principal:
    return authenticate_now({"authorization": f"Bearer {token}"}, ip)


def kind_of(token: str, ip: str = "10.0.0.1") -> str:
    with pytest.raises(Refused) as refused:
        who(token, ip)
    return refused.value.kind


class TestGettingOne:
    def test_a_password_gives_a_pair(self, ann: User) -> None:
        found = sign_in(scopes=["models:read"])
        assert (found["token_type"], found["expires_in"]) == ("Bearer", jwts.ACCESS_S)
        principal = who(found["access_token"])
        assert (principal.user_id, principal.scopes) == (ann.pk, frozenset({"models:read"}))
        assert Client(headers={"authorization": f"Bearer {found['access_token']}"}).get(
            "/api/v1/me"
        ).json()["scopes"] == ["models:read"]

    def test_every_token_of_a_password_counts_for_the_person(
        self, ann: User, settings: Settings
    ) -> None:
        everyone = RateLimits(tokens_per_hour=9_000, per_user_limits=False)
        settings.HUB_CONFIG = HubConfig(rate_limits=everyone)
        quota.refresh_now()
        for _ in range(2):
            [counted] = quota.subjects_of(who(sign_in()["access_token"]))
            assert counted.name == f"user:{ann.pk}"

    def test_it_opens_x_api_key_too(self, ann: User) -> None:
        assert authenticate_now({"x-api-key": sign_in()["access_token"]}, None).username == "ann"

    def test_wrong_passwords_are_counted_with_those_of_the_page(self, ann: User) -> None:
        body = {"username": "ann", "password": "wrong"}
        answers = [ask(body) for _ in range(throttle.PAIR.tries + 1)]
        assert [one.status_code for one in answers] == [401] * throttle.PAIR.tries + [429]
        assert int(answers[-1]["Retry-After"]) > 0
        assert Client().post("/login/", body).status_code == 429

    def test_it_asks_for_the_code(self, ann: User) -> None:
        secret = give_app(ann)
        answer = ask({"username": "ann", "password": PASSWORD})
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "second_factor_needed"
        assert ask({"username": "ann", "password": PASSWORD, "code": "0"}).status_code == 401
        code = code_of(secret)
        sign_in(code=code)
        assert ask({"username": "ann", "password": PASSWORD, "code": code}).status_code == 401
        sign_in(code=factors.new_recovery_codes(ann)[0])

    def test_codes_cannot_be_guessed(self, ann: User) -> None:
        secret = give_app(ann)
        wrong = {"username": "ann", "password": PASSWORD, "code": "000000"}
        assert [ask(wrong).status_code for _ in range(6)] == [401] * 5 + [429]
        assert ask(wrong | {"code": code_of(secret)}).status_code == 429

    def test_a_role_that_must_have_a_factor_gets_none_without(self, ann: User) -> None:
        strength.require_factor(["developer"])
        answer = ask({"username": "ann", "password": PASSWORD})
        assert answer.json()["error"]["code"] == "second_factor_needed"

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({}, 401),
            ({"username": "ann"}, 401),
            ({"username": "ann", "password": PASSWORD, "scopes": ["users:manage"]}, 403),
            ({"username": "ann", "password": PASSWORD, "scopes": ["no:such"]}, 400),
            ({"username": "ann", "password": PASSWORD, "is_staff": True}, 400),
            ({"username": "ann", "password": ["x"]}, 400),
            ({"username": "nobody", "password": PASSWORD}, 401),
        ],
    )
    def test_it_refuses(self, ann: User, body: dict[str, Any], status: int) -> None:
        answer = ask(body)
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

    def test_the_disabled_get_none(self, ann: User) -> None:
        User.objects.update(is_active=False)
        assert ask({"username": "ann", "password": PASSWORD}).status_code == 401

    def test_a_session_gets_none(self, ann: User, client: Client) -> None:
        client.force_login(ann)
        answer = client.post("/api/v1/auth/token", {}, content_type="application/json")
        assert answer.status_code == 401


class TestByKey:
    def key(self, owner: User, **given: Any) -> str:
        return keys.issue(owner, "k", ["models:read"], by=session_of(owner), **given)[1]

    def test_a_key_gives_no_more_than_itself(self, ann: User) -> None:
        key = self.key(ann)
        found = ask({}, authorization=f"Bearer {key}").json()
        assert who(found["access_token"]).scopes == {"models:read"}
        assert ask({"scopes": ["inference"]}, authorization=f"Bearer {key}").status_code == 403

    def test_its_networks_hold_for_the_token(self, ann: User) -> None:
        key = self.key(ann, networks=["127.0.0.0/8", "10.0.0.0/8"])
        token = ask({}, authorization=f"Bearer {key}").json()["access_token"]
        assert who(token, "10.1.1.1").username == "ann"
        assert kind_of(token, "192.168.1.1") == "network"

    def test_its_limits_hold_for_every_token(self, ann: User, settings: Settings) -> None:
        everyone = RateLimits(tokens_per_hour=9_000, per_user_limits=False)
        settings.HUB_CONFIG = HubConfig(rate_limits=everyone)
        key = self.key(ann)
        name = f"key:{ApiKey.objects.get().public_id}"
        Limit.objects.create(subject=name, tokens_per_hour=1_000)
        quota.refresh_now()
        for _ in range(2):
            token = ask({}, authorization=f"Bearer {key}").json()["access_token"]
            [counted] = quota.subjects_of(who(token))
            assert (counted.name, counted.quota.tokens_per_hour) == (name, 1_000)

    def test_its_end_is_the_end_of_the_token(self, ann: User) -> None:
        key = self.key(ann)
        found = ask({}, authorization=f"Bearer {key}").json()
        keys.revoke(ApiKey.objects.get(), by=session_of(ann))
        assert kind_of(found["access_token"]) == "invalid"
        assert ask({"refresh_token": found["refresh_token"]}, "refresh").status_code == 401

    def test_it_ends_with_a_key_that_ends_sooner(self, ann: User) -> None:
        key = self.key(ann, expires_at=timezone.now() + dt.timedelta(minutes=5))
        assert ask({}, authorization=f"Bearer {key}").json()["expires_in"] <= 300

    def test_a_token_gives_no_token(self, ann: User) -> None:
        token = sign_in()["access_token"]
        assert ask({}, authorization=f"Bearer {token}").status_code == 401

    def test_two_proofs_at_once_are_refused(self, ann: User) -> None:
        body = {"username": "ann", "password": PASSWORD}
        assert ask(body, authorization=f"Bearer {self.key(ann)}").status_code == 400

    def test_a_token_issues_no_key_that_outlives_it(self, person: MakeUser) -> None:
        admin = person("ann", "admin", PASSWORD)
        token = sign_in(scopes=["keys:manage", "models:read"])["access_token"]
        with pytest.raises(keys.NotHeld):
            keys.issue(admin, "k", ["models:read"], by=who(token))


class TestRefreshing:
    def again(self, token: str) -> Any:
        return ask({"refresh_token": token}, "refresh")

    def test_it_gives_the_next_pair(self, ann: User) -> None:
        first = sign_in(scopes=["models:read"])
        second = self.again(first["refresh_token"]).json()
        assert second["refresh_token"] != first["refresh_token"]
        assert who(second["access_token"]).scopes == {"models:read"}
        assert self.again(second["refresh_token"]).status_code == 200

    def test_a_second_use_ends_the_whole_sign_in(self, ann: User) -> None:
        first = sign_in()
        second = self.again(first["refresh_token"]).json()
        assert self.again(first["refresh_token"]).status_code == 401
        assert self.again(second["refresh_token"]).status_code == 401
        assert kind_of(second["access_token"]) == "invalid"
        assert kind_of(first["access_token"]) == "invalid"
        assert AuditRow.objects.filter(action="token.reuse").count() == 1

    @pytest.mark.parametrize(
        "change",
        [
            lambda t: t[:-1] + ("0" if t[-1] != "0" else "1"),
            lambda t: t[:17] + "000099" + t[23:],
            lambda t: t.replace("hubr_", "hub_"),
            lambda t: t[:-1],
            lambda _: "",
            lambda _: "hubr_" + "a" * 61,
        ],
    )
    def test_a_forged_one_changes_nothing(self, ann: User, change: Callable[[str], str]) -> None:
        first = sign_in()
        assert self.again(change(first["refresh_token"])).status_code in {400, 401}
        assert self.again(first["refresh_token"]).status_code == 200

    def test_a_thief_of_the_database_cannot_make_one(self, ann: User, settings: Settings) -> None:
        stolen = sign_in()["refresh_token"]
        forged = tokens._refresh_token(Grant.objects.get(), 1, b"another pepper")
        assert forged != stolen

    def test_it_ends_after_thirty_days(self, ann: User) -> None:
        token = sign_in()["refresh_token"]
        Grant.objects.update(expires_at=timezone.now())
        assert self.again(token).status_code == 401

    def test_signing_out_ends_it(self, ann: User) -> None:
        found = sign_in()
        assert ask({"refresh_token": found["refresh_token"]}, "revoke").status_code == 204
        assert kind_of(found["access_token"]) == "invalid"
        assert self.again(found["refresh_token"]).status_code == 401
        assert ask({"refresh_token": "hubr_x"}, "revoke").status_code == 204


class TestItsEnd:
    def test_every_change_of_the_person_holds(self, ann: User) -> None:
        token = sign_in(scopes=["models:read", "inference"])["access_token"]
        assert who(token).allows("inference")
        ann.role = "viewer"
        ann.save()
        assert who(token).scopes == {"models:read"}
        ann.is_active = False
        ann.save()
        assert kind_of(token) == "invalid"

    def test_a_new_password_ends_it(self, ann: User) -> None:
        token = sign_in()["access_token"]
        assert who(token).username == "ann"
        ann.set_password("another pass phrase 8")
        ann.save()
        assert kind_of(token) == "invalid"

    def test_a_new_version_of_the_person_ends_it(self, ann: User) -> None:
        found = sign_in()
        assert who(found["access_token"]).username == "ann"
        tokens.end_all(ann)
        assert kind_of(found["access_token"]) == "invalid"
        assert ask({"refresh_token": found["refresh_token"]}, "refresh").status_code == 401
        assert who(sign_in()["access_token"]).username == "ann"


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class TestForging:
    """Source: RFC 8725, and what happened to others."""

    @pytest.fixture
    def parts(self, ann: User) -> tuple[dict[str, Any], dict[str, Any], str]:
        token = sign_in()["access_token"]
        header, body, _ = token.split(".")
        pad = "=="
        return (
            json.loads(base64.urlsafe_b64decode(header + pad)),
            json.loads(base64.urlsafe_b64decode(body + pad)),
            token,
        )

    def signed(self, header: dict[str, Any], body: dict[str, Any], key: bytes) -> str:
        message = f"{b64(header)}.{b64(body)}"
        mac = hmac.digest(key, message.encode(), hashlib.sha256)
        return f"{message}.{b64(mac)}"

    @property
    def own_key(self) -> bytes:
        return jwts._signing_key()[1]

    def test_this_test_can_sign(self, parts: Any) -> None:
        header, body, _ = parts
        assert who(self.signed(header, body, self.own_key)).username == "ann"

    @pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "", "HS512", "RS256", "EdDSA"])
    def test_the_header_does_not_choose_the_algorithm(self, parts: Any, algorithm: str) -> None:
        header, body, token = parts
        other = {**header, "alg": algorithm}
        assert kind_of(f"{b64(other)}.{b64(body)}.") == "invalid"
        assert kind_of(f"{b64(other)}.{b64(body)}.{token.rsplit('.', 1)[1]}") == "invalid"
        assert kind_of(self.signed(other, body, self.own_key)) == "invalid"

    def test_a_key_in_the_token_is_not_obeyed(self, parts: Any) -> None:
        header, body, _ = parts
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        mine = jwt.encode(body, private, algorithm="RS256", headers=header | {"alg": "RS256"})
        assert kind_of(mine) == "invalid"
        assert kind_of(self.signed(header, body, public)) == "invalid"
        evil = b"k" * 32
        own = {"kty": "oct", "k": b64(evil)}
        assert kind_of(self.signed(header | {"jwk": own}, body, evil)) == "invalid"
        assert kind_of(self.signed(header | {"jku": "http://x/"}, body, evil)) == "invalid"

    @pytest.mark.parametrize(
        "kid",
        ["../../../../dev/null", "' UNION SELECT 'x", "http://evil.example/", "", None, 7, ["x"]],
    )
    def test_the_key_is_of_our_own_set(self, parts: Any, kid: Any) -> None:
        header, body, _ = parts
        for key in (b"", b"\0", self.own_key):
            assert kind_of(self.signed(header | {"kid": kid}, body, key)) == "invalid"

    @pytest.mark.parametrize(
        "change",
        [
            {"aud": "somebody-else"},
            {"aud": None},
            {"iss": "https://evil.example"},
            {"sub": "999999"},
            {"sub": ""},
            {"gid": "nosuchgrant1"},
            {"ver": 99},
            {"iat": "soon"},
            {"exp": "never"},
            {"nbf": 9999999999},
        ],
    )
    def test_every_claim_is_checked(self, parts: Any, change: dict[str, Any]) -> None:
        header, body, _ = parts
        assert kind_of(self.signed(header, body | change, self.own_key)) == "invalid"

    @pytest.mark.parametrize("name", jwts._NEEDED)
    def test_every_claim_is_needed(self, parts: Any, name: str) -> None:
        header, body, _ = parts
        less = {key: value for key, value in body.items() if key != name}
        assert kind_of(self.signed(header, less, self.own_key)) == "invalid"

    def test_a_late_one_has_expired(self, parts: Any) -> None:
        header, body, _ = parts
        late = body | {"exp": int(time.time()) - 1}
        assert kind_of(self.signed(header, late, self.own_key)) == "expired"

    def test_more_scopes_than_its_sign_in_are_not_there(self, parts: Any) -> None:
        header, body, _ = parts
        more = body | {"scope": "models:read keys:manage users:manage"}
        assert who(self.signed(header, more, self.own_key)).scopes == {"models:read"}

    def test_another_kind_of_signed_text_is_none(self, parts: Any) -> None:
        header, body, _ = parts
        assert kind_of(self.signed(header | {"typ": "JWT"}, body, self.own_key)) == "invalid"

    @pytest.mark.parametrize("text", ["..", "a.b.c", "e30.e30.", "x" * 5000 + "..", "\ud800.a.b"])
    def test_nonsense_is_refused(self, ann: User, text: str) -> None:
        with pytest.raises(Refused):
            who(text)


def test_no_token_reaches_a_log(ann: User) -> None:
    found = sign_in()
    for secret in (found["access_token"], found["refresh_token"]):
        assert secret.split("_")[-1][-20:] not in clean(f"saw {secret} pass")


def test_the_database_holds_no_token(ann: User) -> None:
    found = sign_in()
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM accounts_grant")
        held = repr([[bytes(v) if isinstance(v, memoryview) else v for v in row] for row in cursor])
    assert found["refresh_token"][5:17] in held  # its public id is
    assert found["refresh_token"][23:] not in held
    assert found["access_token"].rsplit(".", 1)[1] not in held
