"""The playground's page; everything in it happens in the browser against /v1."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from hub.dashboard import guards, pages, snippets
from inference import sight
from inference.models import Model

IDEAS = (
    gettext_lazy("Name three colors."),
    gettext_lazy("Why is the sky blue?"),
    gettext_lazy("Write two sentences about the sea."),
)


@require_safe
@guards.needs("inference:chat")
def playground(request: HttpRequest) -> HttpResponse:
    """Offer the models of each kind; `?model=` chooses one."""
    available = sight.models(guards.principal(request)).filter(state=Model.State.AVAILABLE)
    wanted = request.GET.get("model", "")
    context: dict[str, Any] = {
        "chat_models": list(
            available.filter(kind__in=("llm", "vlm")).order_by(
                snippets.STARTERS_FIRST, "size_bytes", "name"
            )
        ),
        "speech_models": list(available.filter(kind="asr").order_by("name")),
        "embedding_models": list(available.filter(kind="embed").order_by("name")),
        "wanted": wanted,
        "base_url": snippets.base_url(request),
        "key_variable": snippets.KEY_VARIABLE,
        "code_languages": snippets.LANGUAGES,
        "ideas": [str(idea) for idea in IDEAS],
    }
    return pages.show(request, "pages/playground.html", _("Playground"), context=context)
