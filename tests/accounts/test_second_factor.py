"""Codes beside the password: asked for, used once, counted, and wanted of whole roles."""

import time

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client

from accounts import factors, notices, otp, sealing, strength, throttle
from accounts.authentication import Refused, authenticate_now
from accounts.models import AuditRow, RecoveryCode, Totp, User, Visit
from tests.accounts.conftest import PASSWORD, MakeUser
from tests.accounts.signing import code_of, code_step, give_app, is_in, password_step

pytestmark = pytest.mark.django_db
RFC_SECRET = (
    "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # Source: RFC 6238, appendix B: "12345678901234567890"
)


@pytest.fixture
def ann(person: MakeUser) -> User:
    return person("ann", password=PASSWORD)


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_it_makes_the_codes_of_the_standard(seconds: int, code: str) -> None:
    """Source: RFC 6238, appendix B, the last six digits."""
    assert otp.code(RFC_SECRET, otp.step_at(seconds)) == code
    assert otp.matching_step(RFC_SECRET, code, seconds) == otp.step_at(seconds)


def test_it_takes_a_code_of_the_step_before_and_after_and_no_other() -> None:
    now = 1_700_000_000.0
    step = otp.step_at(now)
    taken = [
        n
        for n in range(-5, 6)
        if otp.matching_step(RFC_SECRET, otp.code(RFC_SECRET, step + n), now)
    ]
    assert taken == [-1, 0, 1]


class TestSigningIn:
    def test_the_password_alone_opens_nothing(self, ann: User, client: Client) -> None:
        give_app(ann)
        assert password_step(client)["Location"] == "/login/second/"
        assert not is_in(client)
        cookie = f"{django_settings.SESSION_COOKIE_NAME}={client.cookies['sessionid'].value}"
        with pytest.raises(Refused):
            authenticate_now({"cookie": cookie}, None, "GET")

    def test_a_code_does_and_leads_where_one_wanted_to_go(self, ann: User, client: Client) -> None:
        secret = give_app(ann)
        password_step(client, target="/keys/")
        waiting = client.cookies["sessionid"].value
        assert code_step(client, code_of(secret))["Location"] == "/keys/"
        assert client.cookies["sessionid"].value != waiting
        assert is_in(client)
        assert Visit.objects.get().how == "totp"

    def test_no_code_works_twice(self, ann: User, client: Client) -> None:
        secret = give_app(ann)
        code = code_of(secret)
        password_step(client)
        assert code_step(client, code).status_code == 302
        thief = Client()
        password_step(thief)
        assert code_step(thief, code).status_code == 401
        assert not is_in(thief)

    def test_an_older_code_is_as_good_as_used(self, ann: User) -> None:
        secret = give_app(ann)
        factors.verify(ann, code_of(secret))
        with pytest.raises(factors.WrongCode):
            factors.verify(ann, code_of(secret, -1))

    def test_guessing_ends_even_for_the_right_code(self, ann: User, client: Client) -> None:
        secret = give_app(ann)
        password_step(client)
        wrong = [code_step(client, "000000").status_code for _ in range(throttle.FACTOR.tries)]
        assert wrong == [401] * throttle.FACTOR.tries
        answer = code_step(client, code_of(secret))
        assert answer.status_code == 429
        assert int(answer["Retry-After"]) > 0
        other = Client(REMOTE_ADDR="10.9.9.9")
        password_step(other)  # the password again, from elsewhere, buys no new guesses
        assert code_step(other, code_of(secret)).status_code == 429

    def test_a_wrong_code_is_told_to_the_audit_log(self, ann: User, client: Client) -> None:
        give_app(ann)
        password_step(client)
        code_step(client, "000000")
        notices.flush()
        row = AuditRow.objects.get(action="login.fail")
        assert (row.object_name, row.outcome) == ("ann", "refused")
        assert "000000" not in row.before + row.after

    def test_a_code_of_somebody_else_is_none(
        self, ann: User, person: MakeUser, client: Client
    ) -> None:
        give_app(ann)
        bobs = give_app(person("bob", password=PASSWORD))
        password_step(client)
        assert code_step(client, code_of(bobs)).status_code == 401

    def test_there_is_no_second_step_without_the_first(self, ann: User, client: Client) -> None:
        secret = give_app(ann)
        assert code_step(client, code_of(secret))["Location"] == "/login/"
        assert not is_in(client)

    def test_a_new_password_ends_a_half_finished_sign_in(self, ann: User, client: Client) -> None:
        secret = give_app(ann)
        password_step(client)
        ann.set_password("another pass phrase 8")
        ann.save()
        assert code_step(client, code_of(secret))["Location"] == "/login/"

    def test_waiting_ends_after_minutes(self, ann: User, client: Client) -> None:
        secret = give_app(ann)
        password_step(client)
        session = client.session
        session["hub_waiting"] |= {"at": int(time.time()) - 301}
        session.save()
        assert code_step(client, code_of(secret))["Location"] == "/login/"

    def test_it_leads_nowhere_else_after_the_code(self, ann: User, client: Client) -> None:
        secret = give_app(ann)
        password_step(client, target="https://evil.example/")
        assert code_step(client, code_of(secret))["Location"] == "/"


class TestRecoveryCodes:
    def test_each_works_once(self, ann: User, client: Client) -> None:
        give_app(ann)
        codes = factors.new_recovery_codes(ann)
        assert len(set(codes)) == factors.RECOVERY_CODES
        password_step(client)
        assert code_step(client, codes[0].upper().replace("-", " ")).status_code == 302
        assert Visit.objects.get().how == "recovery"
        other = Client()
        password_step(other)
        assert code_step(other, codes[0]).status_code == 401
        assert code_step(other, codes[1]).status_code == 302

    def test_new_ones_end_the_old(self, ann: User) -> None:
        give_app(ann)
        old = factors.new_recovery_codes(ann)
        factors.new_recovery_codes(ann)
        with pytest.raises(factors.WrongCode):
            factors.verify(ann, old[0])

    def test_they_are_kept_as_digests(self, ann: User) -> None:
        code = factors.new_recovery_codes(ann)[0].replace("-", "")
        kept = b"".join(bytes(row.digest) for row in RecoveryCode.objects.all())
        assert code.encode() not in kept

    def test_they_go_with_the_last_factor(self, ann: User) -> None:
        give_app(ann)
        factors.new_recovery_codes(ann)
        factors.remove_totp(ann)
        assert not RecoveryCode.objects.exists()


class TestSettingItUp:
    def secret(self, client: Client, page: str = "/account/app/") -> str:
        client.get(page)
        return sealing.unseal("hub_totp_draft", client.session["hub_totp_draft"])

    def test_a_code_of_the_app_takes_it_into_use(self, ann: User, client: Client) -> None:
        password_step(client)
        secret = self.secret(client)
        assert client.post("/account/app/", {"code": "000000"}).status_code == 400
        assert not Totp.objects.exists()
        answer = client.post("/account/app/", {"code": code_of(secret)})
        assert answer["Location"] == "/account/recovery/"
        codes = client.post("/account/recovery/").context["codes"]
        assert len(codes) == factors.RECOVERY_CODES
        with connection.cursor() as cursor:
            cursor.execute("SELECT secret FROM accounts_totp")
            assert secret not in cursor.fetchone()[0]

    def test_the_code_that_set_it_up_does_not_sign_in(self, ann: User, client: Client) -> None:
        password_step(client)
        code = code_of(self.secret(client))
        client.post("/account/app/", {"code": code})
        other = Client()
        password_step(other)
        assert code_step(other, code).status_code == 401

    def test_it_asks_again_who_you_are(self, ann: User, client: Client) -> None:
        password_step(client)
        session = client.session
        session["hub_proved_at"] = int(time.time()) - 601
        session.save()
        for method, path in [
            ("get", "/account/app/"),
            ("post", "/account/app/remove/"),
            ("post", "/account/recovery/"),
            ("post", "/account/browsers/end/"),
        ]:
            answer = getattr(client, method)(path)
            assert answer["Location"].startswith("/account/prove/?next="), path
        assert client.post("/account/prove/", {"password": "wrong"}).status_code == 401
        answer = client.post("/account/prove/?next=/account/app/", {"password": PASSWORD})
        assert answer["Location"] == "/account/app/"
        assert client.get("/account/app/").status_code == 200

    def test_the_second_proof_leads_nowhere_else(self, ann: User, client: Client) -> None:
        password_step(client)
        answer = client.post("/account/prove/?next=//evil.example", {"password": PASSWORD})
        assert answer["Location"] == "/"

    def test_guesses_at_the_second_proof_are_counted(self, ann: User, client: Client) -> None:
        password_step(client)
        answers = [client.post("/account/prove/", {"password": "x"}) for _ in range(6)]
        assert [one.status_code for one in answers] == [401] * 5 + [429]


class TestRolesThatMust:
    @pytest.fixture(autouse=True)
    def _rule(self, db: None) -> None:
        strength.require_factor(["developer"])

    def test_who_has_none_sets_one_up_before_anything_opens(
        self, ann: User, client: Client
    ) -> None:
        password_step(client, target="/keys/")
        assert client.get("/login/second/")["Location"] == "/login/enrol/"
        assert not is_in(client)
        secret = TestSettingItUp().secret(client, "/login/enrol/")
        assert client.post("/login/enrol/", {"code": "000000"}).status_code == 401
        page = client.post("/login/enrol/", {"code": code_of(secret)})
        assert len(page.context["codes"]) == factors.RECOVERY_CODES
        assert page.context["target"] == "/keys/"
        assert is_in(client)

    def test_the_page_is_closed_to_who_has_one(self, ann: User, client: Client) -> None:
        give_app(ann)
        password_step(client)
        assert client.post("/login/enrol/", {"code": "1"})["Location"] == "/login/second/"

    @pytest.mark.django_db(transaction=True)
    def test_weaker_sessions_end_when_the_rule_comes(self, ann: User, client: Client) -> None:
        strength.require_factor([])
        password_step(client)
        assert is_in(client)
        cookie = f"sessionid={client.cookies['sessionid'].value}"
        assert authenticate_now({"cookie": cookie}, None, "GET").username == "ann"
        strength.require_factor(["developer"])
        with pytest.raises(Refused):
            authenticate_now({"cookie": cookie}, None, "GET")
        assert not is_in(client)

    def test_the_last_factor_stays(self, ann: User, client: Client) -> None:
        secret = give_app(ann)
        password_step(client)
        code_step(client, code_of(secret))
        client.post("/account/app/remove/")
        assert Totp.objects.exists()

    def test_other_roles_need_none(self, person: MakeUser, client: Client) -> None:
        person("vera", "viewer", PASSWORD)
        assert password_step(client, "vera")["Location"] == "/"
