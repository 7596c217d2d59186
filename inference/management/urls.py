"""Under /api/v1."""

from django.urls import path

from inference.management import adding, aliases, views

urlpatterns = [
    path("models", views.Models.as_view(), name="api-models"),
    path("models/add", adding.Add.as_view(), name="api-model-add"),
    path("models/<path:name>/cancel", adding.Cancel.as_view(), name="api-model-cancel"),
    path("models/<path:name>/load", views.Load.as_view(), name="api-model-load"),
    path("models/<path:name>/unload", views.Unload.as_view(), name="api-model-unload"),
    path("models/<path:name>", views.OneModel.as_view(), name="api-model"),
    path("aliases", aliases.Aliases.as_view(), name="api-aliases"),
    path("aliases/<path:name>/rollback", aliases.RollBack.as_view(), name="api-alias-rollback"),
    path("aliases/<path:name>", aliases.OneAlias.as_view(), name="api-alias"),
    path("status", views.Status.as_view(), name="api-status"),
]
