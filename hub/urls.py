"""Every URL that Django serves."""

from django.urls import URLPattern, URLResolver, path

from hub import health

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
]
