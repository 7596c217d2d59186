"""One of everything that can be called something, called what attacks; for the pages that show it."""

from collections.abc import Callable
from decimal import Decimal

from django.utils import timezone

from accounts import audit, keys
from accounts.models import (
    Application,
    Membership,
    Price,
    Provider,
    Role,
    Team,
    UsageTotal,
    User,
)
from inference.models import Alias, Model
from tests.accounts.conftest import session_of
from tests.accounts.route_table import PAGES
from training.models import DataSet, DataSetVersion, File, Job, JobEvent

READ = sorted(path for path, scopes in PAGES.items() if "GET" in scopes)


def hostile(kind: str) -> str:
    return f"<img src=x onerror=hit('{kind}')>"


def _key(root: User) -> None:
    keys.issue(root, hostile("key"), by=session_of(root))


def _member(_root: User) -> None:
    """Named as in the paths, so that the pages about one team and one account are seen too."""
    team = Team.objects.create(name="x", description=hostile("team"))
    user = User.objects.create(username=hostile("member"))
    Membership.objects.create(team=team, user=user, role=hostile("member"))


def _account(root: User) -> None:
    about = {"contact": hostile("contact"), "description": hostile("contact")}
    bot = User.objects.create(username="x", kind="service", is_hub_wide=True, **about)
    keys.issue(bot, hostile("contact"), ["inference"], by=session_of(root))


def _alias(_root: User) -> None:
    target = Model.objects.create(name="plain", kind="llm", engine="fake", path="/nowhere")
    Alias.objects.create(name=hostile("alias"), target=target)


def _application(root: User) -> None:
    fields = {"client_type": "public", "authorization_grant_type": "authorization-code"}
    Application.objects.create(name=hostile("application"), user=root, **fields)


def _usage(root: User) -> None:
    fields = {"at": timezone.now(), "user_id": root.pk, "requests": 1, "prompt_tokens": 5}
    for span in ("hour", "day"):
        UsageTotal.objects.create(slot=span, span=span, model=hostile("usage"), **fields)


def _job(root: User) -> None:
    """Named as in the paths."""
    data = DataSet.objects.create(id="x", name=hostile("dataset"), owner=root)
    File.objects.create(
        owner=root, filename=hostile("file"), purpose="fine-tune", size_bytes=1, sha256="d" * 64
    )
    version = DataSetVersion.objects.create(data_set=data, number=1, address="c" * 64)
    told = {"suffix": hostile("job"), "error_message": hostile("error"), "base": hostile("base")}
    job = Job.objects.create(
        id="x", version=version, training_type="lora", owner=root, state="failed", **told
    )
    at = timezone.now()
    JobEvent.objects.create(job=job, seq=1, type="message", message=hostile("event"), at=at)


def _model(_root: User) -> None:
    fields = {"kind": "llm", "engine": "fake", "path": hostile("path")}
    Model.objects.create(name=hostile("model"), **fields)
    told = {"state": Model.State.FAILED, "state_reason": hostile("reason")}
    target = Model.objects.create(name="x/y", tags=[hostile("tag")], **fields, **told)
    Alias.objects.create(name="x/z", target=target, system_prompt=hostile("alias"))


def _role(_root: User) -> None:
    Role.objects.create(name=hostile("role"), scopes=["models:read"])
    Role.objects.create(name="x", scopes=["models:read"], description=hostile("role"))


MAKERS: dict[str, Callable[[User], object]] = {
    "user": lambda _: User.objects.create(username=hostile("user")),
    "team": lambda _: Team.objects.create(name=hostile("team"), description=hostile("team")),
    "member": _member,
    "contact": _account,
    "role": _role,
    "key": _key,
    "model": _model,
    "alias": _alias,
    "application": _application,
    "provider": lambda _: Provider.objects.create(
        slug="corp", name=hostile("provider"), issuer="https://id.example.org", client_id="c"
    ),
    "job": _job,
    "price": lambda _: Price.objects.create(model=hostile("price"), prompt=Decimal(1)),
    "usage": _usage,
    "audit": lambda _: audit.record("alias.create", "alias", hostile("audit")),
}


# What makers plant beside what they are called after, and the browser's own name.
PLANTED = {*MAKERS, "dataset", "file", "event", "tag", "device"}
# Pages of one thing each, by what the makers made: "not found" would show nothing.
ONES = [
    "/access/accounts/about/x/",
    "/access/teams/about/x/",
    "/access/roles/about/x/",
    "/access/people/about/root/",
    "/access/sign-in/edit/corp/",
    "/models/about/x/y/",
    "/aliases/edit/x/z/",
    "/datasets/about/x/",
    "/datasets/about/x/1/",
    "/datasets/add/x/",
    "/training/about/x/",
    "/limits/of/user/root/",
]
