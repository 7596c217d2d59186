"""Taking an authenticator app into use: the secret waits, encrypted, in the session until a code proves it."""

from dataclasses import dataclass

import segno
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from accounts import factors, otp, sealing, throttle
from accounts.models import User
from hub.dashboard import guards

DRAFT = "hub_totp_draft"  # session key
ISSUER = "AI Backend Hub"


@dataclass(frozen=True, slots=True)
class Draft:
    secret: str
    uri: str

    @property
    def spaced(self) -> str:
        """The secret as people type it."""
        return " ".join(self.secret[at : at + 4] for at in range(0, len(self.secret), 4))

    @property
    def picture(self) -> SafeString:
        """The QR code as SVG: black on white in both themes, as cameras want it."""
        code = segno.make(self.uri, error="m")
        svg = code.svg_inline(scale=5, border=2, dark="#000", light="#fff", omitsize=True)
        return SafeString(svg)  # drawn here, of squares only


def draft(request: HttpRequest, user: User) -> Draft:
    """Give the secret that waits in this session, making it first."""
    kept = request.session.get(DRAFT)
    secret = sealing.unseal(DRAFT, kept) if kept else otp.new_secret()
    if not kept:
        request.session[DRAFT] = sealing.seal(DRAFT, secret)
    return Draft(secret, otp.uri(secret, user.username, ISSUER))


def take(request: HttpRequest, user: User, code: str) -> tuple[str, int]:
    """Keep the app if the code is of it; give what is wrong, and how long to wait."""
    try:
        factors.enrol_totp(user, draft(request, user).secret, code)
    except factors.WrongCode:
        return _("That code is not right. Does the clock of your phone go right?"), 0
    except throttle.TooMany as error:
        return guards.wait_words(error.retry_after_s), error.retry_after_s
    request.session.pop(DRAFT, None)
    return "", 0
