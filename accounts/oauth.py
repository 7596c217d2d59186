"""Our rules of OAuth2, told to django-oauth-toolkit by name in `hub.oauth_settings`."""

import hashlib
from typing import Any

from oauth2_provider.oauth2_validators import OAuth2Validator, is_valid_resource_uri
from oauth2_provider.scopes import BaseScopes
from oauthlib.oauth2 import InvalidRequestError, Server
from oauthlib.oauth2.rfc6749.errors import CustomOAuth2Error

from accounts import applications, scopes

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


class HubServer(Server):  # type: ignore[misc] # the library has no types
    """No grant of devices; what is weak is refused before anybody is asked for consent."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.grant_types[DEVICE]
        self.auth_grant.custom_validators.pre_auth += [_check_challenge, _check_resources]


def _check_challenge(request: Any) -> dict[str, Any]:
    """Raises: InvalidRequestError, without PKCE by S256."""
    if not request.code_challenge or request.code_challenge_method != "S256":
        words = "A code_challenge is needed, with code_challenge_method S256."
        raise InvalidRequestError(description=words, request=request)
    return {}


def _check_resources(request: Any) -> dict[str, Any]:
    """Raises: CustomOAuth2Error."""
    for name, value in request.uri_query_params:
        if name == "resource":
            check_resource(value, request)
    return {}


def check_resource(uri: str, request: Any = None) -> None:
    """The library splits an address without a look at it. Raises: CustomOAuth2Error."""
    try:
        is_valid = is_valid_resource_uri(uri) and uri.isprintable()
    except ValueError:
        is_valid = False
    if not is_valid:
        words = "A resource is an absolute address."
        raise CustomOAuth2Error("invalid_target", description=words, request=request)


class HubScopes(BaseScopes):  # type: ignore[misc]
    """An application asks for scopes of ours, and for those alone that it was registered with."""

    def get_all_scopes(self) -> dict[str, str]:
        return dict(scopes.SCOPES)

    def get_available_scopes(self, application: Any = None, *args: Any, **kwargs: Any) -> list[str]:
        return [] if application is None else list(application.scopes)

    def get_default_scopes(self, application: Any = None, *args: Any, **kwargs: Any) -> list[str]:
        return self.get_available_scopes(application)


class HubValidator(OAuth2Validator):  # type: ignore[misc]
    """Secrets are digests under the pepper, and codes are kept as digests too."""

    def _check_secret(self, provided_secret: str, stored_secret: str) -> bool:
        return bool(stored_secret) and applications.is_secret(provided_secret or "", stored_secret)

    def _validate_resource_uris(self, request: Any, resources: list[str]) -> None:
        for uri in resources:
            check_resource(uri, request)

    def _create_authorization_code(self, request: Any, code: Any, expires: Any = None) -> Any:
        return super()._create_authorization_code(
            request, {**code, "code": _digest(code["code"])}, expires
        )

    def validate_code(self, client_id: str, code: str, client: Any, request: Any, **kw: Any) -> Any:
        return super().validate_code(client_id, _digest(code), client, request, **kw)

    def get_code_challenge(self, code: str, request: Any) -> Any:
        return super().get_code_challenge(_digest(code), request)

    def get_code_challenge_method(self, code: str, request: Any) -> Any:
        return super().get_code_challenge_method(_digest(code), request)

    def confirm_redirect_uri(
        self, client_id: str, code: str, redirect_uri: str, client: Any, *args: Any, **kw: Any
    ) -> Any:
        return super().confirm_redirect_uri(
            client_id, _digest(code), redirect_uri, client, *args, **kw
        )

    def invalidate_authorization_code(
        self, client_id: str, code: str, request: Any, **kw: Any
    ) -> Any:
        return super().invalidate_authorization_code(client_id, _digest(code), request, **kw)


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
