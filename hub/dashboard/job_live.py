"""The websocket of one training job: what happened since any of its events, then what happens.

Each message is JSON, `{"job": {...}, "events": [...]}`. Who may still look is asked before each.
"""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

from asgiref.sync import sync_to_async
from django.core.serializers.json import DjangoJSONEncoder
from django.db import close_old_connections

from accounts.authentication import Refused
from accounts.principals import Principal
from hub.dashboard.live import LiveConsumer
from hub.sockets import REFUSED
from inference.errors import NotFound
from training import jobs
from training.models import JobEvent

POLL_S = 0.5
MOST_EVENTS = 500  # of one message
NOT_THERE, ENDED = 4404, 1000
SHOWN = ("state", "reason", "position", "step", "steps", "tokens", "eta_s", "error_message")
FIELDS = ("seq", "type", "level", "message", "data", "at")


class JobConsumer(LiveConsumer):
    """`/ws/training/<id>/?after=12`: events from 13 on; closes by itself once the job is over."""

    needs = "training:read"

    async def _push(self) -> None:
        after, last = _number(self.scope["query_string"]), None
        try:
            while True:
                news, is_over = await self._news(after, await self._ask())
                if news["events"] or news["job"] != last:
                    await self.send(text_data=json.dumps(news, cls=DjangoJSONEncoder))
                last = news["job"]
                after = max([after, *(event["seq"] for event in news["events"])])
                if len(news["events"]) == MOST_EVENTS:
                    continue
                if is_over:
                    await self.close(code=ENDED)
                    return
                await asyncio.sleep(POLL_S)
        except Refused:
            await self.close(code=REFUSED)
        except NotFound as error:
            await self.close(code=NOT_THERE, reason=error.sentence)

    async def _news(self, after: int, who: Principal) -> tuple[dict[str, Any], bool]:
        key = self.scope["url_route"]["kwargs"]["key"]
        return await sync_to_async(_news, thread_sensitive=False)(key, after, who)


def _news(key: str, after: int, who: Principal) -> tuple[dict[str, Any], bool]:
    """Read the job first: its last event is then there too. Raises: NotFound."""
    close_old_connections()
    try:
        job = jobs.find(key, who)
        rows = JobEvent.objects.filter(job=job, seq__gt=after).order_by("seq")
        events = [*rows.values(*FIELDS)[:MOST_EVENTS]]
        shown = {name: getattr(job, name) for name in SHOWN}
        return {"job": {"id": job.pk, **shown}, "events": events}, job.is_over
    finally:
        close_old_connections()


def _number(query: bytes) -> int:
    """Read `after`; what is no number is the beginning."""
    text = parse_qs(query.decode("latin-1")).get("after", ["0"])[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
