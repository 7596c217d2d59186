"""How django-oauth-toolkit works here: codes with PKCE and client credentials, nothing else of OAuth2."""

from typing import Any

OAUTH2_PROVIDER: dict[str, Any] = {
    "SCOPES_BACKEND_CLASS": "accounts.oauth.HubScopes",
    "OAUTH2_SERVER_CLASS": "accounts.oauth.HubServer",
    "OAUTH2_VALIDATOR_CLASS": "accounts.oauth.HubValidator",
    "ACCESS_TOKEN_GENERATOR": "accounts.applications.new_token",
    "ACCESS_TOKEN_EXPIRE_SECONDS": 15 * 60,
    "REFRESH_TOKEN_EXPIRE_SECONDS": 30 * 24 * 3600,
    "ROTATE_REFRESH_TOKEN": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,  # a second use ends the whole family
    "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
    "AUTHORIZATION_CODE_EXPIRE_SECONDS": 60,
    "REQUEST_APPROVAL_PROMPT": "force",
    "PKCE_REQUIRED": True,
    "ALLOW_URI_WILDCARDS": False,
    # Each asks for what RFC 9700 recommends: no implicit grant, no password grant, S256 only, no
    # token in an address, tokens as digests, and who answered (against mix-ups).
    "COMPLIANT_BCP_RFC9700_IMPLICIT_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PASSWORD_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
    "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT": True,
    "COMPLIANT_BCP_RFC9700_TOKEN_STORAGE": True,
    "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
}
