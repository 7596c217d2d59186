"""Under Access: whom signing in asks for a second factor, and the providers of single sign-on."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import providers, scopes, sign_on, strength
from accounts.denials import Refusal
from accounts.journeys import Endpoints, SignOnFailed
from accounts.models import Provider, User
from accounts.providers import Wanted
from hub.dashboard import guards, pages

ROLES = list(scopes.ROLES)


@require_safe
@guards.needs("admin:system")
def rules(request: HttpRequest) -> HttpResponse:
    """Show the rules and the providers."""
    context: dict[str, Any] = {
        "providers": Provider.objects.all(),
        "fixed": sign_on.configured(),
        "roles": ROLES,
        "required": strength.required_roles(),
        "without": _without_factor(),
    }
    return pages.show(request, "pages/sign_in_rules.html", _("Signing in"), context=context)


def _without_factor() -> int:
    people = User.objects.filter(is_active=True, role__in=strength.required_roles())
    return people.filter(totp__isnull=True, passkeys__isnull=True).count()


@require_POST
@guards.needs("admin:system")
@guards.proved
def require(request: HttpRequest) -> HttpResponse:
    wanted = [role for role in ROLES if role in request.POST.getlist("roles")]
    strength.require_factor(wanted)
    messages.success(request, _("From now on these roles sign in with a second factor only."))
    return redirect("sign_in_rules")


@never_cache
@sensitive_post_parameters("client_secret")
@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs("admin:system")
@guards.needs("admin:users")
@guards.proved
def edit(request: HttpRequest, slug: str = "") -> HttpResponse:
    """Make or change a provider; what it says of itself is looked at before it is kept."""
    row = Provider.objects.filter(slug=slug).first() if slug else Provider()
    if row is None:
        raise Http404
    error = ""
    if request.method == "POST":
        try:
            _take(request, row)
            messages.success(request, _("People can sign in with %(name)s.") % {"name": row.name})
            return redirect("sign_in_rules")
        except (SignOnFailed, Refusal) as refused:
            error = _(str(refused))
    context: dict[str, Any] = {
        "row": row,
        "oauth2": _oauth2(request) if request.method == "POST" else row.oauth2,
        "roles": ROLES,
        "role_lines": _lines(row.roles),
        "team_lines": _lines(row.teams),
        "error": error,
    }
    title, status = row.name or _("New provider"), 400 if error else 200
    return pages.show(request, "pages/provider.html", title, context=context, status=status)


def _take(request: HttpRequest, row: Provider) -> None:
    """Raises: SignOnFailed, Refusal, with what is wrong."""
    given = request.POST
    texts = ("name", "issuer", "client_id", "client_secret", "group_claim", "default_role")
    flags = ("makes_accounts", "vouches_factor", "enabled")
    wanted = Wanted(
        **{name: given.get(name, "") for name in texts},  # type: ignore[arg-type]
        **{name: name in given for name in flags},  # type: ignore[arg-type]
        oauth2=_oauth2(request),
        roles=_mapping(given.get("role_lines", ""), ROLES),
        teams=_mapping(given.get("team_lines", "")),
    )
    providers.keep(row, wanted, guards.principal(request))


def _oauth2(request: HttpRequest) -> dict[str, str]:
    """Give the addresses of plain OAuth2; nothing where none is written."""
    found = {name: request.POST.get(name, "").strip() for name in Endpoints.__struct_fields__}
    if not any(found[name] for name in ("authorize_url", "token_url", "userinfo_url")):
        return {}
    return {name: text for name, text in found.items() if text}


def _mapping(text: str, allowed: list[str] | None = None) -> dict[str, str]:
    """Read lines of `group = name`. Raises: SignOnFailed."""
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, text[:20_000].splitlines())):
        group, sign, name = (part.strip() for part in line.rpartition("="))
        if not sign or not group or not name or (allowed is not None and name not in allowed):
            raise SignOnFailed(_("This line is not of the form group = name: %s") % line[:80])
        found[group] = name
    return found


def _lines(mapping: dict[str, str]) -> str:
    return "\n".join(f"{group} = {name}" for group, name in mapping.items())


@require_POST
@guards.needs("admin:system")
@guards.proved
def remove(request: HttpRequest, slug: str) -> HttpResponse:
    """Forget a provider; the accounts stay, and nobody enters by it any more."""
    row = Provider.objects.filter(slug=slug).first()
    if row is None:
        raise Http404
    try:
        providers.remove(row, guards.principal(request))
    except Refusal as refused:
        messages.error(request, _(str(refused)))
        return redirect("sign_in_rules")
    messages.success(request, _("The provider is removed."))
    return redirect("sign_in_rules")
