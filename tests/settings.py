"""The hub's own settings over a throw-away data folder; server processes that tests start inherit
the folder through the environment.
"""

import os
import shutil
import tempfile
from pathlib import Path

if os.environ.get("AI_HUB_TEST_OF") != os.environ.get("PYTEST_XDIST_WORKER", ""):
    # A test's child process keeps its parent's folder; each of several workers has its own.
    _folder = tempfile.mkdtemp(prefix="hubtest-")
    os.environ["AI_HUB_TEST_OWNER"] = str(os.getpid())
    os.environ["AI_HUB_TEST_OF"] = os.environ.get("PYTEST_XDIST_WORKER", "")
    os.environ["AI_HUB_DATA"] = _folder
    os.environ.setdefault(
        "AI_HUB_MODELS", str(Path(__file__).resolve().parent.parent / ".cache" / "models")
    )
    os.environ.pop("AI_HUB_REDIS_URL", None)

from hub.settings import *  # noqa: F403
from hub.settings import ALLOWED_HOSTS, DATABASES

ALLOWED_HOSTS = [*ALLOWED_HOSTS, "testserver"]
# Passwords in tests are no secrets; a slow hash would be most of the run.
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.MD5PasswordHasher",
    "django.contrib.auth.hashers.Argon2PasswordHasher",
]
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, not memory: server processes and threads of a test see the same rows.
    DATABASES["default"]["TEST"] = {"NAME": os.environ["AI_HUB_DATA"] + "/test.sqlite3"}


def remove_data() -> None:
    """Called by conftest at the end, by the process that made the folder."""
    if os.environ["AI_HUB_TEST_OWNER"] == str(os.getpid()):
        shutil.rmtree(os.environ["AI_HUB_DATA"], ignore_errors=True)
