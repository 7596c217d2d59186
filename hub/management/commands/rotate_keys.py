"""Give the hub new keys: for secrets in the database, or (`--peppers`) for the digests of API keys."""

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import models, transaction

from accounts import audit, epoch, keys, sealing
from accounts import peppers as pepper_ring
from accounts.commands import HubCommand
from accounts.fields import EncryptedTextField
from hub import env, keyring
from inference import vault

MOST_NAMED = 20


class Command(HubCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--forget-old",
            action="store_true",
            help="drop the old keys, too: after all processes were started again",
        )

        parser.add_argument(
            "--peppers",
            action="store_true",
            help="renew the pepper of API keys; with --forget-old: drop the old ones, once every"
            " working key was used since",
        )

    def handle(self, *_: Any, forget_old: bool, peppers: bool, **__: Any) -> None:
        if peppers:
            self._forget_peppers() if forget_old else self._renew_pepper()
            return
        self._seal_anew(forget_old=forget_old)

    def _renew_pepper(self) -> None:
        """Running processes read the new one when they next look a key up or make one."""
        self._check_pepper_file()
        keyring.renew(settings.HUB_SECRETS, "key_pepper")
        pepper_ring.read_ring()
        count = keys.under_old_peppers().count()
        self._note("pepper.renew", count)
        self.stdout.write(
            f"new keys get the newest pepper; still under old peppers: {count}; each moves at its"
            " next use, then run this with --peppers --forget-old"
        )

    def _forget_peppers(self) -> None:
        """Raises: CommandError, where a working key would end."""
        self._check_pepper_file()
        pepper_ring.read_ring()
        if found := [key.prefix for key in keys.under_old_peppers()[:MOST_NAMED]]:
            raise CommandError(
                f"These keys were not used since the newest pepper came: {', '.join(found)}. Use"
                " them once, or revoke them; without the old pepper they would end."
            )
        gone = keyring.forget_old(settings.HUB_SECRETS, "key_pepper")
        pepper_ring.read_ring()
        epoch.bump()
        self._note("pepper.forget", gone)
        self.stdout.write(
            f"old peppers gone: {gone}; recovery codes, secrets of applications and sign-ins of"
            " programs that were made under them work no more"
        )

    def _check_pepper_file(self) -> None:
        if settings.HUB_KEY_PEPPER_FILE is None:
            raise CommandError(
                f"{env.PREFIX}KEY_PEPPER is set: put the new pepper before the old one there, with"
                " a comma, and start every process again."
            )

    def _note(self, what: str, count: int) -> None:
        audit.record(f"key_ring.{what}", "key_ring", "pepper", after={"count": count})

    def _seal_anew(self, *, forget_old: bool) -> None:
        self._renew()
        count = vault.reseal() + sum(_reseal(column) for column in _columns())
        self.stdout.write(f"{count} secrets are sealed with the newest key")
        old = len(settings.HUB_FIELD_KEYS) - 1
        if forget_old:
            old -= self._forget()
        audit.record("key_ring.rotate", "key_ring", "field", after={"resealed": count, "old": old})
        if old:
            self.stdout.write(
                f"{old} old keys still open what running processes seal: start these again, then"
                " run this with --forget-old"
            )

    def _renew(self) -> None:
        if settings.HUB_FIELD_KEY_FILE is None:
            self.stdout.write("AI_HUB_FIELD_KEY is set: its first key seals")
            return
        keyring.renew(settings.HUB_SECRETS, "field_key")
        sealing.read_ring()

    def _forget(self) -> int:
        if settings.HUB_FIELD_KEY_FILE is None:
            raise CommandError(f"Take the old keys out of {env.PREFIX}FIELD_KEY yourself.")
        gone = keyring.forget_old(settings.HUB_SECRETS, "field_key")
        sealing.read_ring()
        return gone


def _columns() -> Iterable[tuple[type[models.Model], str]]:
    for model in apps.get_models():
        for field in model._meta.get_fields():  # noqa: SLF001 (Django's documented name)
            if isinstance(field, EncryptedTextField):
                yield model, field.name


def _reseal(column: tuple[type[models.Model], str]) -> int:
    """Read and write each value; a row that somebody changes meanwhile is waited for."""
    model, name = column
    rows = model._default_manager.order_by("pk")  # noqa: SLF001 (as above)
    count = 0
    for pk in list(rows.values_list("pk", flat=True)):
        with transaction.atomic():
            value = rows.select_for_update().filter(pk=pk).values_list(name, flat=True).first()
            count += rows.filter(pk=pk).update(**{name: value}) if value else 0
    return count
