"""Second factors that are typed: codes of an authenticator app, recovery codes. Views and tokens call these.

Each attempt is counted before it is looked at; no code works twice.
"""

import secrets
import time
from dataclasses import dataclass
from typing import Literal

from django.db import transaction
from django.utils import timezone

from accounts import audit, crypto, notices, otp, peppers, throttle
from accounts.models import Passkey, RecoveryCode, Totp, User

RECOVERY_CODES = 10
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is read wrong
_CODE_CHARS = 12  # 31**12 > 2**59

Kind = Literal["totp", "recovery"]


class WrongCode(Exception):
    """The code is not right, or was used already."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a person has."""

    totp: bool
    passkeys: int
    recovery_codes: int  # unused ones

    @property
    def any(self) -> bool:
        return self.totp or self.passkeys > 0


def held(user: User) -> Held:
    """Say what this person can be asked for beside the password."""
    return Held(
        totp=Totp.objects.filter(user=user).exists(),
        passkeys=Passkey.objects.filter(user=user).count(),
        recovery_codes=RecoveryCode.objects.filter(user=user, used_at__isnull=True).count(),
    )


def enrol_totp(user: User, secret: str, code: str) -> None:
    """Keep the app's secret once a code proves that the app has it. Raises: WrongCode, TooMany."""
    throttle.attempt_factor(user.pk)
    step = otp.matching_step(secret, _plain(code), time.time())
    if step is None:
        raise WrongCode
    fields = {"secret": secret, "last_step": step, "last_used_at": timezone.now()}
    with transaction.atomic():
        Totp.objects.update_or_create(user=user, defaults=fields)
        audit.record("factor.add", "user", user.username, pk=user.pk, after={"factor": "app"})
    throttle.forgive_factor(user.pk)


def remove_totp(user: User) -> None:
    """Forget the app; without any other factor the recovery codes go too."""
    with transaction.atomic():
        removed, _rows = Totp.objects.filter(user=user).delete()
        drop_idle_codes(user)
        if removed:
            gone = {"factor": "app"}
            audit.record("factor.remove", "user", user.username, pk=user.pk, before=gone)


def drop_idle_codes(user: User) -> None:
    if not held(user).any:
        RecoveryCode.objects.filter(user=user).delete()


def new_recovery_codes(user: User) -> list[str]:
    """Replace all recovery codes and give the new ones, which are never to be seen again."""
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    with transaction.atomic():
        RecoveryCode.objects.filter(user=user).delete()
        RecoveryCode.objects.bulk_create(
            RecoveryCode(user=user, digest=_digest(peppers.newest(), user, code)) for code in codes
        )
        audit.record("factor.renew_codes", "user", user.username, pk=user.pk)
    return [f"{code[:4]}-{code[4:8]}-{code[8:]}" for code in codes]


def verify(user: User, text: str) -> Kind:
    """Take a code of either kind, once. Raises: WrongCode, TooMany."""
    throttle.attempt_factor(user.pk)
    plain = _plain(text)
    kind = _use_totp(user, plain) or _use_recovery(user, plain)
    if kind is None:
        notices.refused("login.fail", "user", user.username, "second factor")
        raise WrongCode
    throttle.forgive_factor(user.pk)
    return kind


def _use_totp(user: User, text: str) -> Kind | None:
    row = Totp.objects.filter(user=user).first()
    if row is None or len(text) != otp.DIGITS:
        return None
    step = otp.matching_step(row.secret, text, time.time())
    if step is None:
        return None
    fresh = Totp.objects.filter(pk=row.pk, last_step__lt=step)  # of two that race, one wins
    used = fresh.update(last_step=step, last_used_at=timezone.now())
    return "totp" if used else None


def _use_recovery(user: User, text: str) -> Kind | None:
    if len(text) != _CODE_CHARS:
        return None
    unused = RecoveryCode.objects.filter(user=user, used_at__isnull=True)
    found = [_digest(pepper, user, text) for pepper in peppers.every()]
    used = unused.filter(digest__in=found).update(used_at=timezone.now())
    return "recovery" if used else None


def _plain(text: str) -> str:
    """Leave out what people type between the characters."""
    return "".join(text.split()).replace("-", "").lower()[:64]


def _recovery_code() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(_CODE_CHARS))


def _digest(pepper: bytes, user: User, code: str) -> bytes:
    return crypto.digest(pepper, f"recovery:{user.pk}:{code}")
