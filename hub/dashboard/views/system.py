"""System: what this hub runs on, how it is, and how it is set up. Never a secret."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import pgettext
from django.views.decorators.http import require_safe

from hub import env, health
from hub.dashboard import guards, pages, snippets, units

LIBRARIES = (
    "django", "uvicorn", "channels", "torch", "transformers", "xllamacpp", "faster-whisper",
    "ctranslate2", "tokenizers", "msgspec",
)  # fmt: skip


@require_safe
@guards.needs("status:read")
def system(request: HttpRequest) -> HttpResponse:
    parts = async_to_sync(health.reasons)()
    context: dict[str, Any] = {
        "parts": parts,
        "not_ready": sum(1 for reason in parts.values() if reason),
        "versions": [
            ("AI Backend Hub", settings.HUB_VERSION),
            ("Python", platform.python_version()),
            *_versions(),
        ],
        "machine": f"{platform.system()} {platform.release()} · {platform.machine()}",
        "database": connection.vendor,
        "base_url": snippets.base_url(request),
    }
    if guards.principal(request).allows("admin:system"):
        context["settings"] = _settings()
        context["hub_file"] = settings.HUB_CONFIG_FILE
        context["hub_problems"] = settings.HUB_CONFIG_PROBLEMS
        context["hub_json"] = msgspec.json.format(msgspec.json.encode(settings.HUB_CONFIG)).decode()
    return pages.show(request, "pages/system.html", _("System"), ["memory"], context=context)


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in LIBRARIES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def _settings() -> list[tuple[str, str, str]]:
    """Give each variable's value in effect, without its secrets, and where it comes from."""
    words = {
        "default": pgettext("setting", "default"),
        "variable": pgettext("setting", "environment"),
        "file": pgettext("setting", "file"),
    }
    found = sorted(env.in_effect.values(), key=lambda setting: setting.name)
    return [(each.name, _value(each), words[each.source]) for each in found]


def _value(setting: env.Setting) -> str:
    return _("hidden") if setting.value is None else setting.value or units.UNKNOWN
