"""`/api/v1/auth`: a program signs in, refreshes its tokens, signs out. Each call brings its own proof."""

from collections.abc import Iterable
from typing import Any, cast

from django.contrib.auth import authenticate
from django.http import HttpRequest
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import factors, principals, scopes, strength, throttle, tokens
from accounts.authentication import Refused, authenticate_now, raw_headers
from accounts.backends import address_of
from accounts.models import ApiKey, User
from accounts.permissions import KnownQuery, PlainBody
from accounts.strict import Strict
from accounts.tokens import Pair

ADDRESS = throttle.Rule(300, 5 * 60)  # calls from one address


class SignIn(Strict):
    username = serializers.CharField(max_length=150, required=False)
    password = serializers.CharField(max_length=4096, required=False, trim_whitespace=False)
    code = serializers.CharField(
        max_length=64, required=False, help_text="Of the authenticator app, or a recovery code."
    )
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=64), max_length=64, required=False
    )
    name = serializers.CharField(
        max_length=200,
        required=False,
        help_text="What the program is called, for the account page.",
    )


class Refresh(Strict):
    refresh_token = serializers.CharField(max_length=200)


class Tokens(serializers.Serializer[Any]):
    access_token = serializers.CharField()
    token_type = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds.")
    refresh_token = serializers.CharField(help_text="Works once.")
    scope = serializers.CharField(help_text="Names with a space between them.")


class _Open(APIView):
    """Views that ask for a proof of their own, in the body."""

    authentication_classes = []
    permission_classes = [KnownQuery, PlainBody]
    throttle_classes = []
    http_method_names = ["post"]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raises: Throttled, before anything is looked at."""
        super().initial(request, *args, **kwargs)
        try:
            throttle.count(throttle.from_address("tokens", address_of(_plain(request))), ADDRESS)
        except throttle.TooMany as error:
            raise Throttled(error.retry_after_s) from error


class Token(_Open):
    @extend_schema(request=SignIn, responses=Tokens, auth=[])
    def post(self, request: Request) -> Response:
        """Sign in with name, password and code, or with a key in the header."""
        asked = _valid(SignIn, request)
        shows_key = bool(
            {"authorization", "x-api-key"} & {name.lower() for name in request.headers}
        )
        if shows_key and ("username" in asked or "password" in asked):
            raise Refused("ambiguous", "Send one credential, not two: a key or a password.")
        pair = _by_key(request, asked) if shows_key else _by_password(request, asked)
        return _answer(pair)


class Refreshed(_Open):
    @extend_schema(request=Refresh, responses=Tokens, auth=[])
    def post(self, request: Request) -> Response:
        """Change a refresh token for new ones; used a second time it ends the whole sign-in."""
        asked = _valid(Refresh, request)
        try:
            return _answer(tokens.refresh(asked["refresh_token"]))
        except tokens.TokenRefused as error:
            raise Refused("invalid", str(error)) from None


class Revoked(_Open):
    @extend_schema(request=Refresh, responses={204: None}, auth=[])
    def post(self, request: Request) -> Response:
        """Sign out: the refresh token and its access tokens end within two seconds."""
        tokens.revoke(_valid(Refresh, request)["refresh_token"])
        return Response(status=204)


def _valid(kind: type[Strict], request: Request) -> dict[str, Any]:
    given = kind(data=request.data)
    given.is_valid(raise_exception=True)
    return cast("dict[str, Any]", given.validated_data)


def _by_key(request: Request, asked: dict[str, Any]) -> Pair:
    plain = _plain(request)
    headers = [(name, value) for name, value in raw_headers(plain) if name != b"cookie"]
    who = authenticate_now(headers, address_of(plain), "POST", plain.scheme or "http")
    key = ApiKey.objects.select_related("owner").filter(public_id=who.key_id).first()
    if key is None:
        raise Refused("invalid", "Only a password or an API key begins a sign-in, not a token.")
    return _issue(who, key.owner, asked, plain, key)


def _by_password(request: Request, asked: dict[str, Any]) -> Pair:
    name, password, plain = asked.get("username"), asked.get("password"), _plain(request)
    if not name or not password:
        raise Refused("missing", "Send username and password, or a key in the header.")
    if wait_s := throttle.wait_s(name, address_of(plain)):
        raise Throttled(wait_s)
    user = authenticate(plain, username=name, password=password)
    if not isinstance(user, User):
        raise Refused("invalid", "The user name or the password is not right.")
    _check_factor(user, asked.get("code", ""))
    return _issue(principals.of_user(user), user, asked, plain, None)


def _check_factor(user: User, code: str) -> None:
    """Raises: Refused, Throttled."""
    if not factors.held(user).any:
        if user.role in strength.required_roles():
            raise Refused("factor", "Your role asks for a second factor: set one up in a browser.")
        return
    if not code:
        raise Refused("factor", "Send `code` too: of the authenticator app, or a recovery code.")
    try:
        factors.verify(user, code)
    except factors.WrongCode:
        raise Refused("factor", "The code is not right, or it was used already.") from None
    except throttle.TooMany as error:
        raise Throttled(error.retry_after_s) from error


def _issue(
    who: principals.Principal,
    user: User,
    asked: dict[str, Any],
    plain: HttpRequest,
    key: ApiKey | None,
) -> Pair:
    wanted: Iterable[str] = asked.get("scopes") or [s for s in scopes.DEFAULT if who.allows(s)]
    if bad := scopes.unknown(wanted):
        raise serializers.ValidationError({"scopes": [f"there is no scope {bad[0][:64]!r}"]})
    name = asked.get("name") or plain.headers.get("User-Agent", "")
    try:
        return tokens.issue(who, user, wanted, key, name, address_of(plain))
    except tokens.TokenRefused as error:
        raise Refused("scope", str(error)) from None


def _answer(pair: Pair) -> Response:
    body = {
        "access_token": pair.access,
        "token_type": "Bearer",
        "expires_in": pair.expires_in_s,
        "refresh_token": pair.refresh,
        "scope": " ".join(pair.scopes),
    }
    return Response(body, headers={"Cache-Control": "no-store"})


def _plain(request: Request) -> HttpRequest:
    return request._request  # noqa: SLF001 (DRF's own way to the request)
