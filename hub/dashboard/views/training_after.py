"""What follows a training: its model takes an alias or leaves it, and is made in another form."""

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from accounts.principals import Principal
from hub.dashboard import guards
from hub.dashboard.views import trainings
from hub.dashboard.views.saying import said
from inference.errors import HubError, InvalidValue
from training import exports, promotions
from training.models import Export, Job

MAX_NAME_CHARS = 128


@require_POST
@guards.needs(trainings.WRITE)
def promote(request: HttpRequest, key: str) -> HttpResponse:
    """Lead an alias to its model, or a share of the alias's requests."""
    given, name = request.POST, _alias(request)
    done = _("%(name)s leads to this model now.") % {"name": name}

    def act(job: Job, who: Principal) -> object:
        percent, force = _percent(given.get("percent", "")), given.get("force") == "yes"
        wanted = promotions.Wanted(alias=name, percent=percent, force=force)
        return promotions.promote(job, wanted, who)

    return _done(request, key, act, done)


@require_POST
@guards.needs(trainings.WRITE)
def roll_back(request: HttpRequest, key: str) -> HttpResponse:
    """Take its model out of an alias; who answered before does again."""
    name = _alias(request)
    done = _("%(name)s leads to what it led to before.") % {"name": name}
    return _done(request, key, lambda job, who: promotions.roll_back(job, name, who), done)


@require_POST
@guards.needs(trainings.WRITE)
def export(request: HttpRequest, key: str) -> HttpResponse:
    """Make its result in another form, in the background."""
    kind = request.POST.get("kind", "")

    def act(job: Job, who: Principal) -> object:
        if kind not in Export.Kind.values:
            raise InvalidValue(_("Choose a form."), param="kind")
        return exports.ask(job, kind, who)

    return _done(request, key, act, _("It is made in the background, and compared."))


@require_POST
@guards.needs(trainings.WRITE)
def remove_export(request: HttpRequest, key: str) -> HttpResponse:
    """Take an export away; its bytes no longer count."""
    kind = request.POST.get("kind", "")
    done = _("The export was removed.")
    return _done(request, key, lambda job, who: exports.remove(job, kind, who), done)


def _done(
    request: HttpRequest, key: str, act: Callable[[Job, Principal], object], done: str
) -> HttpResponse:
    try:
        act(trainings.named(request, key), guards.principal(request))
    except HubError as error:
        messages.error(request, said(error))
    else:
        messages.success(request, done)
    return redirect("training", key)


def _alias(request: HttpRequest) -> str:
    return request.POST.get("alias", "").strip()[:MAX_NAME_CHARS]


def _percent(text: str) -> float:
    """Raises: InvalidValue."""
    if not text.isdecimal() or not 1 <= int(text[:4]) <= 100:
        raise InvalidValue(_("The share is 1 to 100 per cent."), param="percent")
    return float(int(text))
