"""Websocket routes of the dashboard."""

from django.urls import URLPattern, URLResolver, path

from hub.dashboard.live import LiveConsumer

websocket_urlpatterns: list[URLPattern | URLResolver] = [
    path("ws/live/", LiveConsumer.as_asgi()),
]
