"""Single sign-on: against a real provider, and against one that lies in every way that is known."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import oidc_provider_mock
import pytest
from django.test import Client
from pytest_django import Settings

from accounts import journeys, oidc
from accounts.models import Identity, Membership, Provider, Team, User, Visit
from tests.accounts import provider as lying
from tests.accounts.conftest import PASSWORD, MakeUser
from tests.accounts.sign_on_cases import BACK, come_back, depart, row
from tests.accounts.signing import code_of, code_step, give_app, is_in, password_step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("open_networks")]


class TestARealProvider:
    """Source: oidc-provider-mock, which is Authlib's server."""

    @pytest.fixture
    def real(self) -> Iterator[str]:
        with oidc_provider_mock.run_server_in_thread(require_nonce=True) as server:
            url = f"http://127.0.0.1:{server.server_port}"
            claims = {"preferred_username": "ann", "groups": ["staff"]}
            httpx.put(f"{url}/users/u-1", json=claims).raise_for_status()
            yield url

    def through(self, client: Client, sub: str = "u-1") -> Any:
        answer = client.get("/login/with/corp/?next=/keys/")
        page = httpx.post(answer["Location"], data={"sub": sub})
        where = urlsplit(page.headers["Location"])
        return client.get(f"{where.path}?{where.query}")

    def test_it_signs_in_and_makes_the_account(self, real: str, client: Client) -> None:
        row(real)
        assert self.through(client)["Location"] == "/keys/"
        assert is_in(client)
        user = User.objects.get()
        assert (user.username, user.role) == ("ann", "developer")
        assert not user.has_usable_password()
        assert Identity.objects.get().subject == "u-1"
        assert Visit.objects.get().how == "provider"

    def test_the_same_person_comes_to_the_same_account(self, real: str) -> None:
        row(real)
        for _ in range(2):
            client = Client()
            self.through(client)
            assert is_in(client)
        assert User.objects.count() == 1

    def test_groups_become_roles_also_from_the_userinfo(self, real: str, client: Client) -> None:
        row(real, roles={"staff": "operator"}, default_role="")
        self.through(client)
        assert User.objects.get().role == "operator"


class TestWhoseAccountItIs:
    def test_a_mail_address_opens_nothing(
        self, idp: lying.Provider, person: MakeUser, client: Client
    ) -> None:
        admin = person("ann", "admin", PASSWORD)
        User.objects.update(email="ann@example.org")
        row(idp.issuer)
        come_back(client, idp)
        came = User.objects.get(identities__subject="s1")
        assert came.pk != admin.pk
        assert came.username == "ann-2"
        assert came.role == "developer"

    def test_the_same_subject_of_another_issuer_is_somebody_else(
        self, idp: lying.Provider, client: Client
    ) -> None:
        row(idp.issuer)
        come_back(client, idp)
        Identity.objects.update(issuer="https://another.example")
        come_back(Client(), idp)
        assert User.objects.count() == 2

    def test_nobody_gets_an_account_where_none_is_made(
        self, idp: lying.Provider, client: Client
    ) -> None:
        row(idp.issuer, makes_accounts=False)
        assert come_back(client, idp).status_code == 403
        assert not User.objects.exists()

    def test_the_disabled_stay_out(self, idp: lying.Provider, client: Client) -> None:
        row(idp.issuer)
        come_back(client, idp)
        User.objects.update(is_active=False)
        again = Client()
        assert come_back(again, idp).status_code == 403
        assert not is_in(again)

    def test_one_connects_it_to_ones_account(
        self, idp: lying.Provider, person: MakeUser, client: Client
    ) -> None:
        ann = person("ann", password=PASSWORD)
        row(idp.issuer)
        password_step(client)
        page = client.post("/account/sign-on/corp/connect/")
        to = parse_qs(urlsplit(page.context["url"]).query)
        idp.nonce = to["nonce"][0]
        answer = client.get(BACK, {"code": "c", "state": to["state"][0]})
        assert answer["Location"] == "/account/"
        assert Identity.objects.get().user == ann
        other = Client()
        come_back(other, idp)
        assert is_in(other)
        assert User.objects.count() == 1

    def test_a_connected_identity_is_not_taken_by_another(
        self, idp: lying.Provider, person: MakeUser, client: Client
    ) -> None:
        person("ann", password=PASSWORD)
        row(idp.issuer)
        come_back(Client(), idp)
        password_step(client)
        page = client.post("/account/sign-on/corp/connect/")
        to = parse_qs(urlsplit(page.context["url"]).query)
        idp.nonce = to["nonce"][0]
        assert client.get(BACK, {"code": "c", "state": to["state"][0]}).status_code == 403

    def test_the_only_way_in_is_not_disconnected(self, idp: lying.Provider, client: Client) -> None:
        row(idp.issuer)
        come_back(client, idp)
        client.post(f"/account/sign-on/{Identity.objects.get().pk}/disconnect/")
        assert Identity.objects.exists()


class TestGroups:
    def again(self, idp: lying.Provider, *groups: str) -> Any:
        idp.claims = {"groups": list(groups)}
        return come_back(Client(), idp)

    def test_demotion_follows(self, idp: lying.Provider) -> None:
        row(idp.issuer, roles={"ops": "operator", "devs": "developer"}, default_role="viewer")
        for groups, role in [
            (("ops", "devs"), "operator"),
            (("devs",), "developer"),
            ((), "viewer"),
        ]:
            self.again(idp, *groups)
            assert User.objects.get().role == role

    def test_who_is_in_no_group_stays_out(self, idp: lying.Provider) -> None:
        row(idp.issuer, roles={"ops": "operator"}, default_role="")
        assert self.again(idp, "ops").status_code == 302
        assert self.again(idp).status_code == 403

    def test_the_last_administrator_is_not_demoted(self, idp: lying.Provider) -> None:
        row(idp.issuer, roles={"root": "admin"}, default_role="viewer")
        self.again(idp, "root")
        User.objects.create(username="robot", role="admin", kind=User.Kind.SERVICE)
        assert self.again(idp).status_code == 403
        assert User.objects.get(kind=User.Kind.PERSON).role == "admin"

    def test_teams_follow_too(self, idp: lying.Provider) -> None:
        team = Team.objects.create(name="research")
        row(idp.issuer, teams={"lab": "research"})
        self.again(idp, "lab")
        assert Membership.objects.filter(team=team).count() == 1
        self.again(idp)
        assert not Membership.objects.filter(team=team).exists()

    @pytest.mark.parametrize("groups", [{"a": 1}, 7, [["ops"]], [None], "opsx"])
    def test_nonsense_is_no_group(self, idp: lying.Provider, groups: Any, client: Client) -> None:
        row(idp.issuer, roles={"ops": "admin"}, default_role="viewer")
        idp.claims = {"groups": groups}
        come_back(client, idp)
        assert User.objects.get().role == "viewer"


class TestTheWayBack:
    def test_the_code_goes_with_the_verifier(self, idp: lying.Provider, client: Client) -> None:
        row(idp.issuer)
        asked = depart(client)
        idp.nonce = asked["nonce"]
        client.get(BACK, {"code": "c1", "state": asked["state"]})
        sent = idp.asked[-1]
        assert asked["code_challenge_method"] == "S256"
        assert len(sent["code_verifier"]) >= 43
        assert sent["authorization"].startswith("Basic ")
        assert "client_secret" not in sent

    @pytest.mark.parametrize(
        "answer",
        [
            {"state": "another"},
            {"state": ""},
            {"iss": "https://evil.example"},
            {"iss": ""},
            {"code": ""},
            {"error": "access_denied"},
        ],
    )
    def test_a_wrong_answer_is_refused(
        self, idp: lying.Provider, client: Client, answer: dict[str, str]
    ) -> None:
        row(idp.issuer)
        assert come_back(client, idp, **answer).status_code == 403
        assert not is_in(client)
        assert not idp.asked  # the code was not even sent

    def test_a_provider_that_names_itself_must(self, idp: lying.Provider, client: Client) -> None:
        idp.metadata = {"authorization_response_iss_parameter_supported": True}
        row(idp.issuer)
        assert come_back(client, idp).status_code == 403
        assert come_back(client, idp, iss=idp.issuer).status_code == 302

    def test_an_answer_of_another_browser_is_refused(
        self, idp: lying.Provider, client: Client
    ) -> None:
        row(idp.issuer)
        asked = depart(Client())
        idp.nonce = asked["nonce"]
        assert client.get(BACK, {"code": "c", "state": asked["state"]}).status_code == 403
        depart(client)
        assert client.get(BACK, {"code": "c", "state": asked["state"]}).status_code == 403

    def test_an_answer_counts_once(self, idp: lying.Provider, client: Client) -> None:
        row(idp.issuer)
        asked = depart(client)
        idp.nonce = asked["nonce"]
        answer = {"code": "c", "state": asked["state"]}
        assert client.get(BACK, answer).status_code == 302
        client.post("/logout/")
        assert client.get(BACK, answer).status_code == 403

    def test_an_answer_for_another_provider_is_refused(
        self, idp: lying.Provider, client: Client
    ) -> None:
        row(idp.issuer)
        Provider.objects.create(slug="two", name="Two", issuer=idp.issuer, client_id="hub")
        asked = depart(client)
        idp.nonce = asked["nonce"]
        answer = {"code": "c", "state": asked["state"]}
        assert client.get("/login/with/two/back/", answer).status_code == 403

    def test_it_leads_nowhere_else(self, idp: lying.Provider, client: Client) -> None:
        row(idp.issuer)
        asked = depart(client, "https://evil.example/")
        idp.nonce = asked["nonce"]
        answer = client.get(BACK, {"code": "c", "state": asked["state"]})
        assert answer["Location"] == "/"

    def test_the_second_factor_is_asked_for_unless_the_provider_vouches(
        self, idp: lying.Provider, client: Client
    ) -> None:
        corp = row(idp.issuer)
        come_back(Client(), idp)
        secret = give_app(User.objects.get())
        assert come_back(client, idp)["Location"] == "/login/second/"
        assert not is_in(client)
        code_step(client, code_of(secret))
        assert is_in(client)
        corp.vouches_factor = True
        corp.save()
        other = Client()
        come_back(other, idp)
        assert is_in(other)


class TestItsWord:
    """Source: OpenID Connect Core 1.0 §3.1.3.7, RFC 8725."""

    def test_an_honest_one_is_taken(self, idp: lying.Provider, client: Client) -> None:
        row(idp.issuer)
        assert come_back(client, idp).status_code == 302

    @pytest.mark.parametrize(
        "claims",
        [
            {"iss": "https://evil.example"},
            {"aud": "another"},
            {"aud": ["hub", "another"]},
            {"aud": ["hub", "another"], "azp": "another"},
            {"azp": "another"},
            {"nonce": "of-another-sign-in"},
            {"nonce": None},
            {"nonce": ["x"]},
            {"exp": 1_000_000_000},
            {"exp": None},
            {"iat": None},
            {"nbf": 9_999_999_999},
            {"sub": None},
            {"sub": ""},
            {"sub": "x" * 256},
        ],
    )
    def test_each_claim_is_checked(
        self, idp: lying.Provider, client: Client, claims: dict[str, Any]
    ) -> None:
        row(idp.issuer)
        idp.claims = claims
        assert come_back(client, idp).status_code == 403
        assert not is_in(client)

    @pytest.mark.parametrize(
        ("algorithm", "key"), [("none", None), ("HS256", "s3cret" * 8), ("RS256", lying.OTHER_KEY)]
    )
    def test_only_the_published_key_signs(
        self, idp: lying.Provider, client: Client, algorithm: str, key: Any
    ) -> None:
        row(idp.issuer)
        idp.algorithm, idp.key = algorithm, key
        assert come_back(client, idp).status_code == 403

    def test_a_key_of_another_name_is_none(self, idp: lying.Provider, client: Client) -> None:
        row(idp.issuer)
        idp.header = {"kid": "k2", "jku": "http://127.0.0.1:1/", "jwk": {"kty": "oct", "k": "eA"}}
        assert come_back(client, idp).status_code == 403

    @pytest.mark.parametrize("answer", [{}, {"id_token": ""}, {"id_token": "a.b.c"}])
    def test_no_word_is_no_sign_in(
        self, idp: lying.Provider, client: Client, answer: dict[str, Any]
    ) -> None:
        row(idp.issuer)
        idp.token_answer = answer
        assert come_back(client, idp).status_code == 403

    def test_the_userinfo_speaks_of_the_same_person(
        self, idp: lying.Provider, client: Client
    ) -> None:
        idp.metadata = {"userinfo_endpoint": f"{idp.issuer}/userinfo"}
        idp.userinfo = {"sub": "somebody-else", "groups": ["root"]}
        row(idp.issuer, roles={"root": "admin"})
        assert come_back(client, idp).status_code == 403

    @pytest.mark.parametrize(
        "metadata",
        [
            {"issuer": "https://evil.example"},
            {"issuer": ""},
            {"token_endpoint": "file:///etc/passwd"},
            {"jwks_uri": "http://user:pass@127.0.0.1/"},
            {"authorization_endpoint": "javascript:alert(1)"},
            {"token_endpoint": 7},
        ],
    )
    def test_its_description_is_checked(
        self, idp: lying.Provider, client: Client, metadata: dict[str, Any]
    ) -> None:
        idp.metadata = metadata
        row(idp.issuer)
        assert client.get("/login/with/corp/").status_code == 403


class TestOutgoing:
    def test_private_addresses_are_closed_by_default(
        self, idp: lying.Provider, client: Client, settings: Settings
    ) -> None:
        settings.HUB_SIGN_ON_NETWORKS = []
        row(idp.issuer)
        assert client.get("/login/with/corp/").status_code == 403
        row2 = Provider.objects.get()
        row2.issuer = f"https://127.0.0.1:{idp.port}"
        row2.save()
        assert client.get("/login/with/corp/").status_code == 403

    def test_unknown_and_switched_off_providers_are_not_there(
        self, idp: lying.Provider, client: Client
    ) -> None:
        row(idp.issuer, enabled=False)
        assert client.get("/login/with/corp/").status_code == 404
        assert client.get("/login/with/none/").status_code == 404
        assert "Corp" not in client.get("/login/").content.decode()


def test_signing_out_offers_the_providers_own_way(idp: lying.Provider, client: Client) -> None:
    idp.metadata = {"end_session_endpoint": f"{idp.issuer}/end"}
    row(idp.issuer)
    come_back(client, idp)
    page = client.post("/logout/")
    assert f"{idp.issuer}/end?client_id=hub" in page.content.decode()
    assert not is_in(client)


@pytest.mark.parametrize("inside", [b"[", b'{"a":'])
def test_an_answer_that_is_nested_without_end_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, inside: bytes
) -> None:
    body = b'{"more":' + inside * 100_000
    monkeypatch.setattr(oidc, "call", lambda *_: body)
    with pytest.raises(journeys.SignOnFailed):
        oidc._discover("https://id.example.org")
    with pytest.raises(journeys.SignOnFailed):
        journeys.read_object(body)
