"""Every URL that Django serves."""

from django.urls import URLPattern, URLResolver, include, path

from hub import health, scrape
from hub.dashboard.urls import oauth_urlpatterns
from hub.dashboard.views.oauth import metadata

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("api/", include("hub.api_urls")),
    path("metrics", scrape.scrape, name="metrics"),
    path("oauth/", include((oauth_urlpatterns, "oauth2_provider"))),
    path(".well-known/oauth-authorization-server", metadata, name="oauth-metadata"),
    path("", include("hub.dashboard.urls")),
]

handler400 = "hub.dashboard.views.errors.bad_request"
handler403 = "hub.dashboard.views.errors.forbidden"
handler404 = "hub.dashboard.views.errors.not_found"
handler500 = "hub.dashboard.views.errors.failed"
