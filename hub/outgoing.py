"""The hub's own calls to servers that an administrator named: sign-on providers. One checked door."""

from collections.abc import Mapping
from urllib.parse import urlencode

from asgiref.sync import async_to_sync
from django.conf import settings

from inference.safe_fetch import Ask, FetchFailed, Rules, fetch

MAX_BYTES = 512 * 1024
TIMEOUT_S = 10.0


def call(url: str, form: Mapping[str, str] | None, headers: Mapping[str, str]) -> bytes:
    """GET, or POST a form; credentials follow no redirect. Raises: ConnectionError with words."""
    networks = tuple(settings.HUB_SIGN_ON_NETWORKS)
    rules = Rules(
        MAX_BYTES, TIMEOUT_S, max_redirects=0 if form or headers else 2, networks=networks
    )
    sent = {**headers, "Accept": "application/json"}
    if form is None:
        ask = Ask(headers=sent)
    else:
        sent["Content-Type"] = "application/x-www-form-urlencoded"
        ask = Ask("POST", sent, urlencode(form).encode())
    try:
        return async_to_sync(fetch)(url, rules, ask)
    except FetchFailed as error:
        raise ConnectionError(str(error)) from error
