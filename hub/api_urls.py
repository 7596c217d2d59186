"""Everything under /api."""

from django.urls import include, path

from hub.api_docs import Docs, Schema

urlpatterns = [
    path("schema", Schema.as_view(), name="api-schema"),
    path("docs", Docs.as_view(), name="api-docs"),
    path("v1/", include("accounts.api.urls")),
    path("v1/", include("inference.management.urls")),
    path("v1/", include("training.management.urls")),
]
