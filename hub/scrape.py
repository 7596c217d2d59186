"""/metrics for Prometheus: behind the one door, with the scope `status:read` (any key or session)."""

import os
import re
from collections.abc import Collection

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from accounts import authentication
from inference import catalog, metrics, router, wire
from inference.errors import HubError

SCOPE = "status:read"
MODEL_LABEL = re.compile(rb'model="([^"]*)"')


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
    found = exposition(await _snapshot())
    told = {name.decode() for name in MODEL_LABEL.findall(found)} - {metrics.NO_MODEL}
    hidden = await sync_to_async(catalog.hidden_among)(told, principal)
    return HttpResponse(without(found, hidden), CONTENT_TYPE_LATEST)


def without(found: bytes, hidden: Collection[str]) -> bytes:
    """Leave out the lines about models that are not there for who asks."""
    labels = [f'"{name}"'.encode() for name in hidden]
    lines = found.splitlines(keepends=True)
    return b"".join(line for line in lines if not any(label in line for label in labels))


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
