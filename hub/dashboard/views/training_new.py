"""A new training in three steps (base, data, method), then its plan; nothing begins before it is seen."""

from typing import Any

from django.contrib import messages
from django.db.models import F
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from accounts.principals import Principal
from hub.dashboard import guards, pages, plan_bar, training_form
from hub.dashboard.training_form import Wish
from hub.dashboard.views import trainings
from hub.dashboard.views.saying import said
from inference import sight
from inference.errors import HubError
from inference.models import Model
from training import bases, jobs
from training.models import DataSetVersion


@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs(trainings.WRITE)
def new(request: HttpRequest) -> HttpResponse:
    """Show the step that the address leads to, or begin what it says."""
    if key := request.GET.get("from"):
        return redirect(_address(training_form.like(trainings.named(request, key))))
    wish, who = Wish.of(request.GET), guards.principal(request)
    version = training_form.version(wish.version, who) if wish.version else None
    if request.method == "POST" and version is not None:
        return _begun(request, wish, version)
    context = _step(wish, version, request.GET, who)
    return pages.show(request, "pages/training_new.html", _("New training"), context=context)


def _address(given: dict[str, str]) -> str:
    return f"{reverse('training_new')}?{urlencode(given)}"


def _begun(request: HttpRequest, wish: Wish, version: DataSetVersion) -> HttpResponse:
    try:
        wanted = wish.for_data(version).wanted(version, guards.principal(request))
        job = jobs.submit(wanted, guards.principal(request))
    except HubError as error:
        messages.error(request, said(error))
        return redirect(request.get_full_path())
    messages.success(request, _("The training waits for its turn; its page follows it."))
    return redirect("training", job.pk)


def _step(
    wish: Wish, version: DataSetVersion | None, query: QueryDict, who: Principal
) -> dict[str, Any]:
    """Give what the first step shows that has not been taken."""
    context: dict[str, Any] = {"wish": wish, "version": version}
    names = bases.names(who)
    if wish.base not in names or query.get("step") == "1":
        return context | {"step": 1, "bases": _bases(names, who)}
    if version is None or query.get("step") == "2":
        return context | {"step": 2, "versions": training_form.versions(who)}
    return context | {"step": 3} | _method(wish, version, who)


def _bases(names: list[str], who: Principal) -> list[Model]:
    rows = sight.models(who).filter(name__in=names)
    return [*rows.order_by(F("parameters").asc(nulls_last=True), "name")]


def _method(wish: Wish, version: DataSetVersion, who: Principal) -> dict[str, Any]:
    chosen = wish.for_data(version)
    form = training_form.form(chosen, version, who, said)
    plan = form.plan
    return {
        "wish": chosen,
        "types": training_form.types(version),
        "gate_names": [*training_form.LIMITS],
        "guard_sets": training_form.guards(version, who),
        "form": form,
        "plan": plan,
        "bar": plan_bar.of(plan) if plan else None,
        "changes": [_change(chosen, one) for one in plan["changes"]] if plan else [],
    }


def _change(wish: Wish, offered: dict[str, Any]) -> dict[str, Any]:
    """Give a change with which it would fit, with the address that makes it."""
    return offered | {"address": _address(wish.changed(offered["change"]))}
