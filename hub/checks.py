"""System checks: every mistake in the configuration, named with its place and its cure."""

import ipaddress
from typing import Any

from django.conf import settings
from django.core.checks import ERROR, CheckMessage, Error, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured

from hub import env, keyring, names

TAG = "hub"  # what processes of the hub check at their start; Django's own checks cost them 1 s

NAMES_TAG = "hub-names"  # needs the database, so that only the web process asks


@register(TAG)
def check_variables(**_kwargs: Any) -> list[CheckMessage]:
    return [Error(str(problem), id="hub.E001") for problem in env.problems]


@register(TAG)
def check_names(**_kwargs: Any) -> list[CheckMessage]:
    """A misspelt variable would have no effect and no error."""
    return [
        Warning(
            f"{name} is no setting of the hub",
            hint=f"Did you mean {near}?" if near else "docs/settings.md lists them all.",
            id="hub.W002",
        )
        for name, near in env.unknown().items()
    ]


@register(TAG)
def check_config_file(**_kwargs: Any) -> list[CheckMessage]:
    kind = Warning if settings.HUB_CONFIG_IS_KEPT else Error
    return [
        kind(
            f"{settings.HUB_CONFIG_FILE}: {message}",
            hint="Correct it; a hub that runs goes on with what it read before, and reads it again"
            " by itself.",
            id="hub.E002",
        )
        for message in settings.HUB_CONFIG_PROBLEMS
    ]


@register(NAMES_TAG)
def check_model_names(**_kwargs: Any) -> list[CheckMessage]:
    hint = f"Correct {settings.HUB_CONFIG_FILE}, or add the model."
    return [Warning(line, hint=hint, id="hub.W003") for line in names.astray()]


@register(TAG)
def check_secrets(**_kwargs: Any) -> list[CheckMessage]:
    """Secrets that others can read are an error: whoever reads them can forge a login."""
    return [
        Error(
            f"{path} can be read by other users",
            hint=f"Run: chmod go-rwx '{path}'",
            id="hub.E003",
        )
        for path in keyring.open_to_others(settings.HUB_SECRETS)
    ]


@register(TAG)
def check_exposure(**_kwargs: Any) -> list[CheckMessage]:
    """Off loopback, the names that the hub answers to must be said."""
    if is_loopback(settings.HUB_HOST):
        return []
    messages: list[CheckMessage] = []
    named = [host for host in settings.ALLOWED_HOSTS if host not in settings.LOOPBACK_NAMES]
    if not named or "*" in named:
        messages.append(
            Error(
                f"AI_HUB_HOST is {settings.HUB_HOST}, which others can reach, but no host name"
                " is allowed",
                hint="Set AI_HUB_PUBLIC_URL (https://hub.example.org) or AI_HUB_ALLOWED_HOSTS"
                " (hub.example.org,10.0.0.5); `*` is not accepted.",
                id="hub.E004",
            )
        )
    if not settings.HUB_PUBLIC_URL.startswith("https:"):
        messages.append(
            Warning(
                "The hub can be reached from other machines without TLS: passwords and keys"
                " travel in the clear",
                hint="Put a TLS proxy before it and set AI_HUB_PUBLIC_URL=https://... and"
                " AI_HUB_TRUSTED_PROXIES.",
                id="hub.W001",
            )
        )
    return messages


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_bad_configuration() -> None:
    """For servers that are started without a management command.

    Raises: ImproperlyConfigured.
    """
    checks = (check_variables, check_config_file, check_secrets)
    messages = [message for check in checks for message in check()]
    errors = [str(message.msg) for message in messages if message.is_serious(ERROR)]
    if errors:
        raise ImproperlyConfigured("\n".join(errors))
