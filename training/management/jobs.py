"""`/api/v1/training`: started from a data set, listed, followed, paused, resumed, stopped, cancelled."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.pages import Pages
from accounts.permissions import principal_of
from accounts.principals import Principal
from inference.errors import Conflict, NotFound
from training import jobs, plans, retention, sets
from training.after import After
from training.management import shown_jobs
from training.models import DataSet, DataSetVersion, Job

READ, WRITE = "training:read", "training:write"
VERBS = {
    "submit": jobs.begin,
    "pause": jobs.pause,
    "resume": jobs.resume,
    "stop": jobs.stop,
    "cancel": jobs.cancel,
}


class Start(APIView):
    scopes = {"POST": WRITE}

    @extend_schema(request=shown_jobs.NewJob, responses={202: shown_jobs.JobView})
    def post(self, request: Request) -> Response:
        """Start a training, which goes on in the background; a draft waits to be submitted."""
        given, who = _given(shown_jobs.NewJob, request), principal_of(request)
        job = jobs.submit(_wanted(given, who), who, draft=given["draft"])
        return Response(shown_jobs.job(job), 202)


class Plan(APIView):
    scopes = {"POST": WRITE}

    @extend_schema(request=shown_jobs.Wanted, responses=shown_jobs.PlanView)
    def post(self, request: Request) -> Response:
        """Say what this training would be: memory, who would leave, time, disk. Nothing is started."""
        given, who = _given(shown_jobs.Wanted, request), principal_of(request)
        return Response(plans.shown(plans.of(_wanted(given, who), who)))


class JobPlan(APIView):
    scopes = {"GET": READ}

    @extend_schema(responses=shown_jobs.PlanView)
    def get(self, request: Request, key: str) -> Response:
        """Say the same of a job that has not begun."""
        who = principal_of(request)
        return Response(plans.shown(plans.of_job(jobs.find(key, who), who)))


def _given(kind: type[shown_jobs.Wanted], request: Request) -> dict[str, Any]:
    given = kind(data=request.data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


def _wanted(given: dict[str, Any], who: Principal) -> jobs.Wanted:
    return jobs.Wanted(
        base=given["base_model"],
        training_type=given["training_type"],
        version=_version(given["dataset"], who, number=given["dataset_version"]),
        config=given["training_config"],
        suffix=given["suffix"],
        seed=given["seed"],
        is_preemptible=given["is_preemptible"],
        after=_after(given, who),
    )


def _after(given: dict[str, Any], who: Principal) -> After:
    guard = _version(given["guard"], who, "guard") if given["guard"] else None
    return After(given["prompts"], guard, given["gate"], given["exports"])


def _version(
    named: str, who: Principal, param: str = "dataset", number: int | None = None
) -> DataSetVersion:
    """Give a version of a data set, the newest or a certain one. Raises: NotFound, Conflict."""
    data_set = _data_set(named, who, param)
    if number is not None:
        return sets.find_version(data_set, number)
    version = data_set.versions.first()
    if version is None:
        raise NotFound(f"The data set `{data_set.name}` has no version.", param=param)
    return version


def _data_set(named: str, who: Principal, param: str) -> DataSet:
    """Find it by id or by name. Raises: NotFound, Conflict."""
    rows = sets.visible(who)
    found = rows.filter(pk=named).first()
    if found is None:
        by_name = list(rows.filter(name=named)[:2])
        if len(by_name) > 1:
            raise Conflict(f"Several teams have a data set `{named}`: give its id.", param=param)
        found = by_name[0] if by_name else None
    if found is None:
        raise NotFound(f"There is no data set `{named}`, or it is not yours.", param=param)
    return found


class JobList(APIView):
    scopes = {"GET": READ}
    query = {"GET": [*Pages.query]}

    @extend_schema(responses=shown_jobs.JobView(many=True), operation_id="training_jobs_list")
    def get(self, request: Request) -> Response:
        """List trainings, newest first."""
        rows = Job.objects.visible_to(principal_of(request)).select_related("version", "team")
        rows = rows.prefetch_related("made")
        pages = Pages()
        found = pages.paginate_queryset(rows, request, self) or []
        return pages.get_paginated_response([shown_jobs.job(row) for row in found])


class OneJob(APIView):
    scopes = {"GET": READ, "DELETE": WRITE}

    @extend_schema(responses=shown_jobs.JobView, operation_id="training_jobs_retrieve")
    def get(self, request: Request, key: str) -> Response:
        """Show one."""
        return Response(shown_jobs.job(jobs.find(key, principal_of(request))))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, key: str) -> Response:
        """Remove one that is over, with its folder; models that it made are removed first."""
        who = principal_of(request)
        retention.remove(jobs.find(key, who), who)
        return Response(status=204)


class Change(APIView):
    scopes = {"POST": WRITE}
    verb = "cancel"

    @extend_schema(request=None, responses=shown_jobs.JobView)
    def post(self, request: Request, key: str) -> Response:
        """Submit a draft, pause, resume, stop and register, or cancel."""
        who = principal_of(request)
        return Response(shown_jobs.job(VERBS[self.verb](jobs.find(key, who), who)))
