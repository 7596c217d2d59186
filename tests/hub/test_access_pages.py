"""Access: a person is made on its page; a manager is offered the teams that they keep, and no others."""

import pytest
from django.test import Client

from accounts import keys, people, principals, service_accounts, teams
from accounts.models import User

PASSWORD = "correct horse battery"
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]


def test_a_person_is_made(client: Client) -> None:
    client.force_login(people.create("ada", PASSWORD, role=User.Role.ADMIN))
    wanted = {"username": "bo", "password": PASSWORD, "role": "developer", "team": "default"}
    page = client.post("/access/people/new/", wanted, follow=True)
    assert page.redirect_chain == [("/access/people/about/bo/", 302)]
    assert "bo can sign in now." in page.content.decode()
    assert User.objects.get(username="bo").role == "developer"


@pytest.mark.parametrize("address", ["/access/accounts/new/", "/access/roles/new/"])
def test_a_manager_is_offered_the_teams_that_they_keep(client: Client, address: str) -> None:
    admin = principals.of_user(people.create("ada", PASSWORD, role=User.Role.ADMIN))
    manager = people.create("bo", PASSWORD, role="developer")
    for name, level in (("kept", "manager"), ("joined", "member")):
        teams.add(teams.create(name, admin), manager, admin, level)
    client.force_login(manager)
    page = client.get(address).content.decode()
    assert '<option value="kept"' in page
    assert '<option value="joined"' not in page


def test_a_service_account_is_made_for_the_whole_hub(client: Client) -> None:
    client.force_login(people.create("ada", PASSWORD, role=User.Role.ADMIN))
    assert "Make one for each program" in client.get("/access/accounts/").content.decode()
    wanted = {"name": "bot", "team": "", "role": "operator", "contact": "sue", "description": "CI"}
    page = client.post("/access/accounts/new/", wanted, follow=True)
    assert page.redirect_chain == [("/access/accounts/about/bot/", 302)]
    text = page.content.decode()
    assert "operator on the whole hub." in text
    assert "it has no key" in text
    bot = User.objects.get(username="bot")
    assert (bot.is_hub_wide, bot.contact, bot.description) == (True, "sue", "CI")


def test_a_manager_makes_none_for_the_whole_hub(client: Client) -> None:
    manager = people.create("bo", PASSWORD, role="developer")
    teams.add(teams.create("kept"), manager, None, "manager")
    client.force_login(manager)
    assert "The whole hub" not in client.get("/access/accounts/new/").content.decode()
    refused = client.post("/access/accounts/new/", {"name": "bot", "team": "", "role": "viewer"})
    assert refused.status_code == 400
    assert "admin:users" in refused.content.decode()
    assert not User.objects.filter(username="bot").exists()
    service_accounts.create("hubs", None, "viewer")
    assert client.get("/access/accounts/about/hubs/").status_code == 404


def test_a_service_account_is_changed_disabled_and_removed_on_its_page(client: Client) -> None:
    ada = people.create("ada", PASSWORD, role=User.Role.ADMIN)
    client.force_login(ada)
    bot = service_accounts.create("bot", None, "developer")
    keys.issue(bot, "nightly", ["inference"], by=principals.of_user(ada))
    assert "nightly" in client.get("/access/accounts/about/bot/").content.decode()
    change = "/access/accounts/change/bot/"
    client.post(change, {"role": "viewer", "contact": "sue", "description": ""})
    client.post(change, {"active": "no"})
    bot.refresh_from_db()
    assert (bot.role, bot.contact, bot.is_active) == ("viewer", "sue", False)
    for address in ("/access/accounts/?q=bo", "/access/accounts/about/bot/", "/keys/"):
        assert "disabled" in client.get(address).content.decode()
    page = client.post("/access/accounts/remove/bot/", follow=True)
    assert page.redirect_chain == [("/access/accounts/", 302)]
    assert not User.objects.filter(username="bot").exists()
