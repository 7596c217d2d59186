"""Who asks: the one answer of authentication, for every channel."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_network

from accounts import scopes
from accounts.models import ApiKey, Membership, User, Visibility, scopes_of

Network = IPv4Network | IPv6Network
Names = frozenset[str] | None  # None: every model


@dataclass(frozen=True, slots=True)
class Principal:
    """A person or service account, by session or by key, with the rights that hold for this request.

    Invariant: `scopes` is a subset of what role, memberships and team policy hold now.
    """

    user_id: int
    username: str
    role: str
    scopes: frozenset[str]  # in one place or another; `allows_in` tells for one team
    key_id: str | None = None  # the key's public id; None: a session or the command line
    counted_key: str | None = None  # whose limits and use: the key, or the one a token came from
    models: Names = None  # the key's
    networks: tuple[Network, ...] = ()  # (): from everywhere
    expires_at: dt.datetime | None = None  # of the key
    team_id: int | None = None  # the key's, or a person's own: whose usage this is
    teams: frozenset[int] = frozenset()  # whose objects are seen
    manages: frozenset[int] = frozenset()
    team_models: Names = None  # what team policy allows
    by_team: Mapping[int, frozenset[str]] = field(default_factory=dict)  # scopes in each team
    elsewhere: frozenset[str] | None = None  # scopes in other teams' places; None: `scopes`
    is_active: bool = True  # DRF and Django ask for it
    is_authenticated: bool = True

    def allows(self, scope: str) -> bool:
        """Tell whether this scope is held, in one place at least."""
        return scopes.held(scope, self.scopes)

    def allows_in(self, scope: str, team: int) -> bool:
        """Tell whether what belongs to this team may be changed so; ask `sees` first."""
        return scopes.held(scope, self.scopes & self.by_team.get(team, self._everywhere))

    def allows_on_hub(self, scope: str) -> bool:
        """Tell whether this scope is held in every team's place, not through one team alone."""
        return scopes.held(scope, self.scopes & self._everywhere)

    @property
    def _everywhere(self) -> frozenset[str]:
        return self.scopes if self.elsewhere is None else self.elsewhere

    def allows_model(self, *names: str) -> bool:
        """Tell whether a model may be used; give the requested name and the resolved one."""
        return all(
            allowed is None or not allowed.isdisjoint(names)
            for allowed in (self.models, self.team_models)
        )

    @property
    def is_limited(self) -> bool:
        """Tell whether some models are out of reach by name."""
        return self.models is not None or self.team_models is not None

    @property
    def sees_all(self) -> bool:
        return "admin:teams" in self.scopes

    @property
    def view(self) -> tuple[object, ...]:
        """What may be seen, to compare: equal views see the same rows."""
        return (self.sees_all or self.teams, self.models, self.team_models)

    def sees(self, team: int, visibility: str) -> bool:
        """Tell whether a row of this owner is there for them."""
        return visibility == Visibility.HUB or team in self.teams or self.sees_all


def of_user(user: User) -> Principal:
    """Return the full rights of a person: a session, or the operator at the command line."""
    standing = _Standing(user, [*user.memberships.select_related("team")])
    return standing.principal(standing.memberships)


def of_member(user: User, team: int | None) -> Principal | None:
    """Return a person's rights in one team (None: the first they are in); None: not in it."""
    standing = _Standing(user, [*user.memberships.select_related("team")])
    wanted = team if team is not None else standing.first(standing.memberships)
    mine = [one for one in standing.memberships if one.team_id == wanted]
    return standing.principal(mine) if mine else None


def of_key(key: ApiKey) -> Principal | None:
    """Return the rights of a key: its scopes ∩ its owner's rights in its team; None: left the team."""
    whole = of_member(key.owner, key.team_id)
    if whole is None:
        return None
    return replace(
        narrowed(whole, key.scopes, key.public_id, key.expires_at),
        counted_key=key.public_id,
        models=frozenset(key.models_allowed) or None,
        networks=tuple(ip_network(text) for text in key.networks_allowed),
    )


def narrowed(
    whole: Principal, wanted: Iterable[str], key_id: str, expires_at: dt.datetime | None
) -> Principal:
    """Return somebody with `wanted` of their rights at most: who shows a key, or a token."""
    asked = scopes.expand(wanted)
    elsewhere = whole.scopes if whole.elsewhere is None else whole.elsewhere
    return replace(
        whole,
        scopes=whole.scopes & asked,
        by_team={team: held & asked for team, held in whole.by_team.items()},
        elsewhere=elsewhere & asked,
        key_id=key_id,
        expires_at=expires_at,
    )


def operator_for(user: User) -> Principal:
    """Return who acts for a person at the command line: it holds every scope."""
    every = frozenset(scopes.SCOPES)
    return replace(of_user(user), scopes=every, by_team={}, elsewhere=None, team_models=None)


class _Standing:
    """What a person holds in each of their teams."""

    def __init__(self, user: User, memberships: list[Membership]) -> None:
        self.user = user
        self.memberships = memberships if user.is_active else []
        # A bound account's role holds in its team only: whoever made it may hold it nowhere else.
        self.hub = user.scopes & scopes.ADMIN if user.is_bound else user.scopes
        self.own = user.scopes if user.is_bound else frozenset()

    def principal(self, memberships: list[Membership]) -> Principal:
        by_team = {one.team_id: self._held_in(one) for one in memberships}
        elsewhere = self.hub & scopes.ADMIN
        for one in memberships:
            elsewhere |= _within(self.hub, one)
        return Principal(
            user_id=self.user.pk,
            username=self.user.username,
            role=self.user.role,
            scopes=elsewhere.union(*by_team.values()),
            team_id=self.first(memberships),
            teams=frozenset(by_team),
            manages=frozenset(one.team_id for one in memberships if one.is_manager),
            team_models=_models(memberships),
            by_team=by_team,
            elsewhere=elsewhere,
        )

    def _held_in(self, one: Membership) -> frozenset[str]:
        """The role on the hub and the one in the team, as far as the team's policy allows it."""
        added = self.own | scopes_of(one.role)
        return _within(self.hub | (added - scopes.ADMIN), one)

    def first(self, memberships: list[Membership]) -> int | None:
        keys = [one.team_id for one in memberships]
        return self.user.team_id if self.user.team_id in keys else next(iter(keys), None)


def _within(held: frozenset[str], one: Membership) -> frozenset[str]:
    """Administering the hub is no matter of a team."""
    policy = one.team.scopes_allowed
    return held & (scopes.expand(policy) | scopes.ADMIN) if policy else held


def _models(memberships: list[Membership]) -> Names:
    """In several teams, what any of them allows."""
    lists = [one.team.models_allowed for one in memberships]
    if not all(lists):
        return None
    return frozenset(name for names in lists for name in names) or None
