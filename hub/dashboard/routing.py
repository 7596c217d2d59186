"""Websocket routes of the dashboard."""

from django.urls import URLPattern, path

from hub.dashboard.job_live import JobConsumer
from hub.dashboard.live import LiveConsumer

websocket_urlpatterns: list[URLPattern] = [
    path("ws/live/", LiveConsumer.as_asgi()),
    path("ws/training/<slug:key>/", JobConsumer.as_asgi()),
]
