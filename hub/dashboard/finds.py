"""What Ctrl-K finds: pages, and the newest of each kind of thing that this person may see."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _

from accounts import keys, people
from accounts.models import User
from accounts.principals import Principal
from hub.dashboard import pages
from inference import sight
from training import sets
from training.models import Job

MOST = 500  # of one kind
Entry = dict[str, Any]


def entries(who: Principal) -> list[Entry]:
    kinds = (_pages, _models, _aliases, _data_sets, _jobs, _keys, _people)
    return [*(entry for kind in kinds for entry in kind(who)), *_themes()]


def _pages(who: Principal) -> Iterator[Entry]:
    for _group, links in pages.navigation(who):
        for link in links:
            yield _entry(str(link.title), _("Page"), link.icon, reverse(link.route))


def _models(who: Principal) -> Iterator[Entry]:
    if who.allows("models:read"):
        names = sight.models(who).order_by("name").values_list("name", flat=True)[:MOST]
        yield from _named(names, _("Model"), "cube", "model")


def _aliases(who: Principal) -> Iterator[Entry]:
    if who.allows("models:write"):  # whoever may not has no page of one
        names = sight.aliases(who).order_by("name").values_list("name", flat=True)[:MOST]
        yield from _named(names, _("Alias"), "route", "alias_edit")


def _data_sets(who: Principal) -> Iterator[Entry]:
    if who.allows("datasets:read"):
        for pk, name in sets.visible(who).values_list("pk", "name")[:MOST]:
            yield _entry(name, _("Data set"), "database", reverse("dataset", args=[pk]))


def _jobs(who: Principal) -> Iterator[Entry]:
    if who.allows("training:read"):
        for pk, suffix in Job.objects.visible_to(who).values_list("pk", "suffix")[:MOST]:
            title = f"{suffix} {pk}".strip()
            yield _entry(title, _("Training"), "bolt", reverse("training", args=[pk]))


def _keys(who: Principal) -> Iterator[Entry]:
    if who.allows("keys:read"):
        for name in keys.listing(who).values_list("name", flat=True)[:MOST]:
            yield _entry(name, _("Key"), "key", reverse("keys"))


def _people(who: Principal) -> Iterator[Entry]:
    if who.allows(people.SCOPE):
        rows = User.objects.filter(kind=User.Kind.PERSON).order_by("username")
        names = rows.values_list("username", flat=True)[:MOST]
        yield from _named(names, _("Person"), "users", "person")


def _themes() -> list[Entry]:
    group = _("Theme")
    return [
        {"title": _("Light"), "group": group, "icon": "sun", "theme": "light"},
        {"title": _("Dark"), "group": group, "icon": "moon", "theme": "dark"},
        {"title": _("Like the system"), "group": group, "icon": "device-desktop", "theme": "auto"},
    ]


def _named(names: Iterable[str], group: str, icon: str, route: str) -> Iterator[Entry]:
    for name in names:
        yield _entry(name, group, icon, reverse(route, args=[name]))


def _entry(title: str, group: str, icon: str, url: str) -> Entry:
    return {"title": title, "group": group, "icon": icon, "url": url}
