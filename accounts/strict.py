"""Serializers that refuse what they do not know, and convert nothing."""

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.fields import Field

NUMBER, WHOLE, TRUTH, TEXT = "a number", "a whole number", "true or false", "text"
KINDS: tuple[tuple[type[Field[Any, Any, Any, Any]], tuple[type, ...], str], ...] = (
    (serializers.BooleanField, (bool,), TRUTH),
    (serializers.IntegerField, (int,), WHOLE),
    (serializers.FloatField, (int, float), NUMBER),
    (serializers.CharField, (str,), TEXT),
    (serializers.ChoiceField, (str,), TEXT),
    (serializers.DateTimeField, (str,), TEXT),
)


class StrictQuery(serializers.Serializer[Any]):
    """Unknown fields are an error that names them, never silently dropped. Values are text."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := sorted(set(data) - set(self.fields))):
            raise ValidationError({unknown[0][:100]: ["unknown parameter"]}, code="unknown")
        return super().to_internal_value(data)


class Strict(StrictQuery):
    """JSON says of which type a value is: DRF would make the text "1" of a number, true of "yes"."""

    def to_internal_value(self, data: Any) -> Any:
        for name, value in data.items() if isinstance(data, dict) else ():
            if name in self.fields and (wrong := _wrong(self.fields[name], value)):
                raise ValidationError({name: wrong})
        return super().to_internal_value(data)


def _wrong(field: Field[Any, Any, Any, Any], value: Any) -> Any:
    """Give what is wrong with the value's type, by place where it is a list; None: nothing."""
    if isinstance(field, serializers.ListField) and isinstance(value, list):
        found = {place: _wrong(field.child, one) for place, one in enumerate(value)}
        return {place: wrong for place, wrong in found.items() if wrong}
    for kind, types, words in KINDS:
        if isinstance(field, kind):
            is_bool = isinstance(value, bool) and bool not in types
            fits = value is None or (isinstance(value, types) and not is_bool)
            return None if fits else [f"it must be {words}"]
    return None
