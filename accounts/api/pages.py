"""How lists are paged under /api/v1; every list of the hub uses it."""

from rest_framework import serializers
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request


class Pages(PageNumberPagination):
    """`?page=2&page_size=50`."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 500
    query = ("page", page_size_query_param)

    def get_page_size(self, request: Request) -> int | None:
        """Raises: ValidationError, where DRF itself would take another size and say nothing."""
        given = request.query_params.get(self.page_size_query_param, "1")
        fits = given.isascii() and given.isdigit() and len(given) <= 4
        if not fits or not 1 <= int(given) <= self.max_page_size:
            reason = f"it must be a whole number from 1 to {self.max_page_size}"
            raise serializers.ValidationError({self.page_size_query_param: [reason]})
        return super().get_page_size(request)
