"""Serializers that refuse what they do not know."""

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError


class Strict(serializers.Serializer[Any]):
    """Unknown fields are an error that names them, never silently dropped."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and (unknown := sorted(set(data) - set(self.fields))):
            raise ValidationError({unknown[0][:100]: ["unknown parameter"]}, code="unknown")
        return super().to_internal_value(data)
