"""Small tags for the pages of data sets, trainings and evaluations."""

from typing import Any

from django import template
from django.utils.safestring import SafeString

from hub.dashboard import build_states, build_words, event_words, finding_words
from hub.dashboard.data_set_page import VersionPage
from hub.dashboard.states import State
from hub.templatetags import hub_tags
from training.models import Job, JobEvent

register = template.Library()
register.simple_tag(build_words.metric_word)
register.simple_tag(build_words.metric_value)
register.simple_tag(build_words.exit_word)
register.simple_tag(build_words.export_word)
register.simple_tag(build_words.type_word)
register.filter(build_words.loss)
register.filter(build_words.figure)
register.filter("finding_words", finding_words.words)
register.filter("event_words", event_words.words)
register.simple_tag(event_words.event_text)


@register.inclusion_tag("parts/findings_pills.html")
def findings_pills(version: VersionPage | None) -> dict[str, Any]:
    """Say how many errors and warnings a version has."""
    return {"version": version}


@register.inclusion_tag("parts/gate_pill.html")
def gate_pill(verdict: dict[str, Any]) -> dict[str, Any]:
    """Say what the gate found of a result."""
    return {"outcome": verdict["outcome"]}


@register.filter
def job_state(job: Job) -> State:
    return build_states.of_job(job)


@register.simple_tag
def event_icon(event: JobEvent) -> SafeString:
    """Draw what kind of thing happened to a job."""
    if event.type == "state":
        look = build_states.JOBS.get(event.data.get("state", ""))
        return hub_tags.icon(look.icon if look else "info-circle")
    name = "alert-triangle" if event.level != "info" else build_words.EVENT_ICONS.get(event.type)
    return hub_tags.icon(name or "info-circle")
