"""Access: a person is made on its page; a manager is offered the teams that they keep, and no others."""

import pytest
from django.test import Client

from accounts import people, principals, teams
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


@pytest.mark.parametrize("address", ["/access/accounts/", "/access/roles/new/"])
def test_a_manager_is_offered_the_teams_that_they_keep(client: Client, address: str) -> None:
    admin = principals.of_user(people.create("ada", PASSWORD, role=User.Role.ADMIN))
    manager = people.create("bo", PASSWORD, role="developer")
    for name, level in (("kept", "manager"), ("joined", "member")):
        teams.add(teams.create(name, admin), manager, admin, level)
    client.force_login(manager)
    page = client.get(address).content.decode()
    assert '<option value="kept"' in page
    assert '<option value="joined"' not in page
