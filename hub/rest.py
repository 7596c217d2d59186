"""How Django REST framework works here: one door, scopes, our envelope, documented by spectacular."""

from typing import Any

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.permissions.OneDoor"],
    "DEFAULT_PERMISSION_CLASSES": [
        "accounts.permissions.HasScope",
        "accounts.permissions.KnownQuery",
        "accounts.permissions.PlainBody",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["accounts.permissions.PerCaller"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["hub.parsers.BoundedJSON"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "hub.envelope.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "AI Backend Hub",
    "DESCRIPTION": "OpenAI's own API under /v1; the hub's, for models, people and keys, under /api/v1.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",  # what the structs of /v1 are written down in
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "hub.v1_schema.add",
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "FilesState": "inference.management.serializers.FILES_STATES",
        "KeyState": "accounts.api.keys.KEY_STATES",
        "LiveState": "inference.management.serializers.LIVE_STATES",
        "StateAfterLoad": "inference.management.serializers.AFTER_LOAD",
        "StateAfterUnload": "inference.management.serializers.AFTER_UNLOAD",
        "DataSetState": "training.models.DataSetVersion.State",
        "ExportKind": "training.models.Export.Kind",
        "LimitSubject": "accounts.limit_rows.SUBJECT_KINDS",
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": False},
}
