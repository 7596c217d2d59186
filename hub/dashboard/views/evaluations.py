"""Evaluations: trainings compared by figures and case by case."""

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from hub.dashboard import guards, pages
from hub.dashboard.evaluation_page import MOST_RUNS, Comparison
from hub.dashboard.views import trainings


@require_safe
@guards.needs(trainings.READ)
def evaluations(request: HttpRequest) -> HttpResponse:
    """Compare the trainings that the address names, or else the two newest."""
    compared = Comparison(guards.principal(request), request.GET.getlist("job"))
    context = {"compared": compared, "most": MOST_RUNS}
    return pages.show(request, "pages/evaluations.html", _("Evaluations"), context=context)
