"""Nobody gets through somebody else's account what they do not hold themselves in the same place."""

import datetime as dt

import pytest
from django.utils import timezone

from accounts import applications, keys, principals, scopes, service_accounts, teams
from accounts.applications import AppRefused, Wanted
from accounts.authentication import authenticate_now
from accounts.models import Membership, Role, Team, User
from tests.accounts.application_cases import register
from tests.accounts.conftest import MakeUser, session_of

pytestmark = pytest.mark.django_db(transaction=True)
KEEPS_PEOPLE = [*scopes.WIDE["users:manage"], *scopes.ROLES["developer"]]


@pytest.fixture
def red() -> Team:
    return teams.create("red")


@pytest.fixture
def hr(person: MakeUser, red: Team) -> User:
    """Who keeps people and programs, and is an operator in one team only."""
    Role.objects.create(name="hr", scopes=KEEPS_PEOPLE)
    made = person("hr", "hr")
    teams.add(red, made, None, Membership.Level.MANAGER, role="operator")
    return made


class TestKeysOfOthers:
    def test_a_right_of_one_team_gives_no_key_that_holds_everywhere(
        self, hr: User, red: Team, person: MakeUser
    ) -> None:
        ops = person("ops", "operator")
        teams.add(red, ops, None)
        with pytest.raises(keys.NotHeld, match="models:write"):
            keys.issue(ops, "mine", ["models:write"], by=session_of(hr), team=red)
        assert keys.issue(ops, "chat", ["inference:chat"], by=session_of(hr), team=red)

    def test_nor_one_in_place_of_another(self, hr: User, red: Team, person: MakeUser) -> None:
        ops = person("ops", "operator")
        teams.add(red, ops, None)
        key, _ = keys.issue(ops, "k", ["models:write"], by=session_of(ops), team=red)
        with pytest.raises(keys.NotHeld, match="models:write"):
            keys.rotate(key, session_of(hr))

    def test_who_holds_it_in_that_team_alone_gets_it_there_alone(
        self, hr: User, red: Team, person: MakeUser
    ) -> None:
        dev = person("dev")
        teams.add(red, dev, None, role="operator")
        _, plaintext = keys.issue(dev, "k", ["models:write"], by=session_of(hr), team=red)
        rights = authenticate_now({"x-api-key": plaintext}, None)
        assert rights.allows_in("models:write", red.pk)
        assert not rights.allows_on_hub("models:write")


class TestApplicationsOfPrograms:
    def test_one_acts_with_no_more_than_its_maker_holds_there(self, hr: User, red: Team) -> None:
        blue = teams.create("blue")
        bot = service_accounts.create("bot", blue, "operator")
        with pytest.raises(AppRefused, match="models:write"):
            register(hr, service=bot, scopes=["models:write"])
        own = service_accounts.create("own", red, "operator")
        assert register(hr, service=own, scopes=["models:write"])

    def test_a_limited_key_makes_none(self, person: MakeUser, red: Team) -> None:
        ada = person("ada", "admin")
        bot = service_accounts.create("bot", red, "developer")
        ends = timezone.now() + dt.timedelta(days=1)
        may = ["keys:write", "inference:chat", "users:manage"]
        wanted = Wanted("Notes", [], ["inference:chat"], service=bot)
        for narrow in ({"expires_at": ends}, {"networks": ["10.0.0.0/8"]}):
            key, _ = keys.issue(ada, "k", may, by=session_of(ada), **narrow)
            by = principals.of_key(key)
            assert by is not None
            with pytest.raises(AppRefused, match="limited"):
                applications.register(wanted, by)
