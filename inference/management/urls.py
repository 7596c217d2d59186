"""Under /api/v1."""

from django.urls import path

from inference.management import adding, aliases, finding, secrets, uploads, views

urlpatterns = [
    path("models", views.Models.as_view(), name="api-models"),
    path("models/add", adding.Add.as_view(), name="api-model-add"),
    path("models/search", finding.Search.as_view(), name="api-model-search"),
    path("models/upstream", finding.Upstream.as_view(), name="api-model-upstream"),
    path("models/<path:name>/cancel", adding.Cancel.as_view(), name="api-model-cancel"),
    path("models/<path:name>/load", views.Load.as_view(), name="api-model-load"),
    path("models/<path:name>/plan", views.Plan.as_view(), name="api-model-plan"),
    path("models/<path:name>/verify", adding.Verify.as_view(), name="api-model-verify"),
    path("models/<path:name>/unload", views.Unload.as_view(), name="api-model-unload"),
    path("models/<path:name>", views.OneModel.as_view(), name="api-model"),
    path("aliases", aliases.Aliases.as_view(), name="api-aliases"),
    path("aliases/<path:name>/rollback", aliases.RollBack.as_view(), name="api-alias-rollback"),
    path("aliases/<path:name>", aliases.OneAlias.as_view(), name="api-alias"),
    path("secrets", secrets.Secrets.as_view(), name="api-secrets"),
    path("secrets/<slug:name>", secrets.OneSecret.as_view(), name="api-secret"),
    path("uploads", uploads.Uploads.as_view(), name="api-uploads"),
    path("uploads/<slug:key>", uploads.OneUpload.as_view(), name="api-upload"),
    path("uploads/<slug:key>/resume", uploads.Resume.as_view(), name="api-upload-resume"),
    path("uploads/<slug:key>/complete", uploads.Complete.as_view(), name="api-upload-complete"),
    path(
        "uploads/<slug:key>/<int:file>/<int:number>", uploads.Part.as_view(), name="api-upload-part"
    ),
    path("status", views.Status.as_view(), name="api-status"),
]
