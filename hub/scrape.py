"""/metrics for Prometheus: behind the one door, with the scope `status:read` (any key or session)."""

import os

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from accounts import authentication
from inference import metrics, router, wire
from inference.errors import HubError

SCOPE = "status:read"


@login_not_required
@require_safe
async def scrape(request: HttpRequest) -> HttpResponse:
    """Give the metrics of every web process, and of the node as it is now."""
    try:
        principal = await authentication.authenticate(
            authentication.raw_headers(request), request.META.get("REMOTE_ADDR"), "GET"
        )
        authentication.require(principal, SCOPE)
    except authentication.Refused as refused:
        return HttpResponse(f"{refused.message}\n", "text/plain", refused.status)
    return HttpResponse(exposition(await _snapshot()), CONTENT_TYPE_LATEST)


async def _snapshot() -> wire.Snapshot | None:
    try:
        return await router.snapshot()
    except HubError:
        return None


def exposition(snapshot: wire.Snapshot | None) -> bytes:
    """Several web processes write to files that are summed here; one answers from memory."""
    node = CollectorRegistry()
    node.register(metrics.NodeCollector(lambda: snapshot))
    return generate_latest(_processes()) + generate_latest(node)


def _processes() -> CollectorRegistry:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # it has no types
    return registry
