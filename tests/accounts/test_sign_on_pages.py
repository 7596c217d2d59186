"""Where single sign-on is set up: its pages, and the configuration file."""

import json
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import sign_on
from accounts.models import Provider, User
from hub import config
from tests.accounts import provider as lying
from tests.accounts.conftest import PASSWORD, MakeUser
from tests.accounts.sign_on_cases import come_back
from tests.accounts.signing import password_step

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("open_networks")]


class TestConfiguring:
    @pytest.fixture
    def admin(self, person: MakeUser, client: Client) -> Client:
        person("root", "admin", PASSWORD)
        password_step(client, "root")
        return client

    def form(self, at: str, **more: str) -> dict[str, str]:
        wanted = {"name": "Corp", "issuer": at, "client_id": "hub", "client_secret": "s3cret"}
        roles = {"role_lines": "ops = operator\ncn=root,dc=x = admin", "enabled": "on"}
        return wanted | roles | {"group_claim": "groups"} | more

    def test_a_page_keeps_it_with_its_secret_sealed(
        self, admin: Client, idp: lying.Provider
    ) -> None:
        answer = admin.post("/access/sign-in/new/", self.form(idp.issuer))
        assert answer["Location"] == "/access/sign-in/"
        kept = Provider.objects.get()
        assert kept.roles == {"ops": "operator", "cn=root,dc=x": "admin"}
        assert kept.client_secret == "s3cret"
        page = admin.get("/access/sign-in/edit/corp/").content.decode()
        assert "s3cret" not in page
        admin.post("/access/sign-in/edit/corp/", self.form(idp.issuer, client_secret=""))
        assert Provider.objects.get().client_secret == "s3cret"

    @pytest.mark.parametrize(
        "change",
        [
            {"issuer": "http://127.0.0.1:1"},
            {"issuer": "not an address"},
            {"issuer": "https://["},
            {"name": ""},
            {"role_lines": "ops = emperor"},
            {"role_lines": "nonsense"},
            {"default_role": "emperor"},
        ],
    )
    def test_it_says_what_is_wrong(
        self, admin: Client, idp: lying.Provider, change: dict[str, str]
    ) -> None:
        answer = admin.post("/access/sign-in/new/", self.form(idp.issuer, **change))
        assert answer.status_code == 400
        assert not Provider.objects.exists()

    def test_only_who_runs_the_hub_may(self, person: MakeUser, client: Client) -> None:
        person("olga", "operator", PASSWORD)
        password_step(client, "olga")
        for path in ("/access/sign-in/", "/access/sign-in/new/"):
            assert client.get(path).status_code == 403
        assert client.post("/access/sign-in/require/", {"roles": "viewer"}).status_code == 403

    def test_a_rule_is_set_by_the_page(self, admin: Client) -> None:
        admin.post("/access/sign-in/require/", {"roles": ["viewer", "nonsense"]})
        assert "1 role needs" in admin.get("/access/sign-in/").content.decode()

    def test_the_configuration_file_names_some_too(
        self, idp: lying.Provider, settings: Settings, client: Client, tmp_path: Any
    ) -> None:
        secret = tmp_path / "secret"
        secret.write_text("from a file\n")
        one = {"name": "corp", "title": "Corp", "issuer": idp.issuer, "client_id": "hub"}
        more = {"client_secret_file": str(secret), "default_role": "viewer"}
        settings.HUB_CONFIG = config.parse(json.dumps({"single_sign_on": [one | more]}).encode())
        assert "Corp" in client.get("/login/").content.decode()
        assert sign_on.client_of(sign_on.providers()[0], "").client_secret == "from a file"
        come_back(client, idp)
        assert User.objects.get().role == "viewer"
        secret.unlink()
        assert client.get("/login/").status_code == 302
        assert Client().get("/login/").status_code == 200
        assert Client().get("/login/with/corp/").status_code == 403
