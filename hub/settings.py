"""All Django settings, read from AI_HUB_* variables (docs/settings.md lists them)."""

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy

from hub import config, database, env, keyring, oauth_settings, places, rest

BASE_DIR = Path(__file__).resolve().parent.parent

# --- the hub ------------------------------------------------------------------------------------

HUB_VERSION = "0.1.0.dev0"  # CHANGELOG.md; its first release is still to come
HUB_DATA = places.data_folder(env.path("DATA", BASE_DIR / "data"))
HUB_MODELS = env.path("MODELS", HUB_DATA / "models")
HUB_IMPORT_ROOTS = [
    HUB_DATA / "import",
    *(Path(name).expanduser().absolute() for name in env.names("IMPORT_ROOTS")),
]
HUB_HF_ENDPOINT = env.url("HF_ENDPOINT", "https://huggingface.co", ("http", "https"))
HUB_PRIVATE_UPSTREAMS = env.choice("PRIVATE_UPSTREAMS", "refuse", ("allow", "refuse")) == "allow"
HUB_REMOTE_IMAGES = env.choice("REMOTE_IMAGES", "refuse", ("fetch", "refuse")) == "fetch"
HUB_FETCH_NETWORKS = env.networks("FETCH_NETWORKS")
HUB_SIGN_ON_NETWORKS = env.networks("SIGN_ON_NETWORKS")
HUB_RUNTIME = places.runtime_folder(HUB_DATA)
HUB_SECRETS = HUB_DATA / "secrets"

HUB_HOST = env.text("HOST", "127.0.0.1")
HUB_PORT = env.integer("PORT", 8000, low=1, high=65535)
HUB_PUBLIC_URL = env.url("PUBLIC_URL", "", ("http", "https"))
HUB_WEB_WORKERS = env.integer("WEB_WORKERS", 1, low=1, high=64)
HUB_TRUSTED_PROXIES = env.names("TRUSTED_PROXIES")
HUB_DEVICE = env.choice("DEVICE", "auto", ("auto", "cpu", "cuda"))
HUB_MODEL_SIZE = env.choice("MODEL_SIZE", "small", ("small", "medium", "large"))
HUB_MEMORY_LIMIT_BYTES = env.byte_size("MEMORY_LIMIT", low=64 * 10**6)  # 0: the node
HUB_STANDBY = env.integer("STANDBY", 1, low=0, high=1)
HUB_HANG_TIMEOUT_S = env.integer("HANG_TIMEOUT", 10, low=2, high=3600)
HUB_TRAINING_HANG_TIMEOUT_S = env.integer("TRAINING_HANG_TIMEOUT", 180, low=10, high=86_400)
HUB_CGROUP = env.text("CGROUP")
HUB_VLLM_PYTHON = env.text("VLLM_PYTHON")
HUB_NODE_ADDRESS = env.url("NODE_ADDRESS", f"unix:{HUB_RUNTIME / 'node.sock'}", ("unix", "tcp"))
HUB_REDIS_IS_EMBEDDED = not env.raw("REDIS_URL")
HUB_REDIS_URL = env.url(
    "REDIS_URL", f"unix://{HUB_RUNTIME / 'valkey.sock'}", ("redis", "rediss", "unix")
)
HUB_LIMITS_GRACE_S = env.integer("LIMITS_GRACE", 60, low=0, high=86_400)
HUB_USAGE_DAYS = env.integer("USAGE_DAYS", 90, low=1, high=3650)
HUB_CHECKPOINT_DAYS = env.integer("CHECKPOINT_DAYS", 30, low=0, high=3650)  # 0: for ever
HUB_AUDIT_DAYS = env.integer("AUDIT_DAYS", 0, low=0, high=36_500)  # 0: for ever
HUB_CURRENCY = env.text("CURRENCY", "USD")
HUB_MLFLOW_URI = env.url("MLFLOW_TRACKING_URI", "", ("http", "https"))  # empty: a server of our own
HUB_MAX_BODY_BYTES = 16 * 1024 * 1024  # of every request that Django serves

HUB_CONFIG_FILE = env.path("CONFIG", BASE_DIR / "config" / "hub.json")
# What `runhub` keeps for processes that it starts again while the file cannot be used.
HUB_CONFIG_KEPT = HUB_RUNTIME / "hub.json"
HUB_CONFIG, HUB_CONFIG_PROBLEMS, HUB_CONFIG_IS_KEPT = config.load_or_kept(
    HUB_CONFIG_FILE,
    HUB_CONFIG_KEPT if os.environ.get("HUB_KEEPS_CONFIG") else None,
    is_named=bool(env.raw("CONFIG")),
)

# --- secrets ------------------------------------------------------------------------------------

HUB_OUTGOING = "hub.outgoing.call"  # how `accounts` asks sign-on providers
HUB_KNOWN_MODELS = "inference.catalog.every_name"  # asked where a key names models
HUB_MODELS_OF_NAME = "inference.catalog.leads_to"  # asked where a model is given limits
SECRET_KEY = env.secret("SECRET_KEY") or keyring.load_or_make(HUB_SECRETS, "secret_key")
_pepper, _field_key = env.secret("KEY_PEPPER"), env.secret("FIELD_KEY")
HUB_KEY_PEPPERS = [key.encode() for key in keyring.ring(HUB_SECRETS, "key_pepper", _pepper)]
# Read again where a digest is made, and where a key is looked up.
HUB_KEY_PEPPER_FILE = None if _pepper else HUB_SECRETS / "key_pepper"
HUB_FIELD_KEYS = keyring.ring(HUB_SECRETS, "field_key", _field_key)
# Read again where a value was sealed with a newer key than this process knows.
HUB_FIELD_KEY_FILE = None if _field_key else HUB_SECRETS / "field_key"

# --- Django -------------------------------------------------------------------------------------

DEBUG = False
LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]"]
_public = urlsplit(HUB_PUBLIC_URL)
ALLOWED_HOSTS = [
    *env.names("ALLOWED_HOSTS"),
    *([_public.hostname] if _public.hostname else []),
    *LOOPBACK_NAMES,
]
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"] if _public.netloc else []

ROOT_URLCONF = "hub.urls"
ASGI_APPLICATION = "hub.asgi.application"
AUTH_USER_MODEL = "accounts.User"
INSTALLED_APPS = [
    # The development server; it imports twisted, so no other command pays for it.
    *(["daphne"] if "runserver" in sys.argv[1:2] else []),
    "accounts",  # before Django's, two of whose commands are ours: the audit log hears of them
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "csp",
    "django_prometheus",
    "oauth2_provider",
    "inference",
    "training",
    "hub",
]
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "hub.middleware.compress_pages",
    "hub.middleware.keep_no_pages",
    "hub.middleware.tell_limits",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "hub.acting.name_actor",
    # Deny by default: a view without a login must say so (login_not_required).
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "hub.sessions.KnownBrowser",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {"default": database.from_url(env.url("DATABASE_URL", "", database.SCHEMES), HUB_DATA)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": HUB_REDIS_URL,
        "KEY_PREFIX": "hub:cache",
    }
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [HUB_REDIS_URL], "prefix": "hub:ws"},
    }
}

REST_FRAMEWORK = rest.REST_FRAMEWORK
SPECTACULAR_SETTINGS = rest.SPECTACULAR_SETTINGS

# --- who a visitor is -----------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = ["accounts.backends.PasswordBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
CSRF_FAILURE_VIEW = "hub.dashboard.views.errors.csrf_failed"
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
SESSION_ENGINE = "accounts.session_store"  # keeps digests of the keys
SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _public.scheme == "https"
SECURE_HSTS_SECONDS = 31_536_000 if _public.scheme == "https" else 0

OAUTH2_PROVIDER_APPLICATION_MODEL = "accounts.Application"
OAUTH2_PROVIDER = oauth_settings.OAUTH2_PROVIDER | {"OIDC_ISS_ENDPOINT": HUB_PUBLIC_URL}

# --- what a browser may do ------------------------------------------------------------------------

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],
        "media-src": [SELF, "blob:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 500
DATA_UPLOAD_MAX_NUMBER_FILES = 20

# --- files, words, logs ---------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = HUB_DATA / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "hub.static.VersionedStorage"},
}
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", gettext_lazy("English")), ("vi", gettext_lazy("Vietnamese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_NAME = "hub_language"

LOG_FORMAT = env.choice("LOG_FORMAT", "console", ("console", "json"))
LOG_LEVEL = env.choice("LOG_LEVEL", "info", ("debug", "info", "warning", "error")).upper()
LOGGING_CONFIG = "hub.telemetry.configure_logging"
LOGGING = {"format": LOG_FORMAT, "level": LOG_LEVEL}
PROMETHEUS_EXPORT_MIGRATIONS = False
