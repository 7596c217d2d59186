"""Columns whose values lie encrypted in the database."""

from typing import Any

from django.db import models
from django.db.models.expressions import Expression

from accounts import sealing


class EncryptedTextField(models.TextField):  # type: ignore[type-arg] # no subscript when running
    """Text that is sealed when it is written and opened when it is read; empty stays empty.

    It cannot be searched, sorted or made unique: every sealing differs. `manage.py rotate_keys`
    finds these columns by their class. Reading raises `sealing.Unreadable` where the key is gone.
    """

    def get_prep_value(self, value: Any) -> Any:
        text = super().get_prep_value(value)
        return sealing.seal(self.place, text) if text else text

    def from_db_value(self, value: Any, _expression: Expression, _connection: Any) -> Any:
        return sealing.unseal(self.place, value) if value else value

    def get_lookup(self, lookup_name: str) -> Any:
        """Raises: TypeError, where a query would compare two different sealings of one text."""
        if lookup_name == "isnull":
            return super().get_lookup(lookup_name)
        raise TypeError(f"{self.place} is encrypted: it cannot be searched")

    @property
    def place(self) -> str:
        return f"{self.model._meta.db_table}.{self.column}"  # noqa: SLF001 (Django's documented name)
