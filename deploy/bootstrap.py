"""Make or renew .venv, with the standard library alone: `python3 deploy/bootstrap.py [--with-tests]`.

It obeys pip's own configuration (index, find-links, certificates, proxy), also where uv installs.
A stamp of the requirements makes the second run end at once.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "requirements"
CONSTRAINTS = REQUIREMENTS / "constraints.txt"
APART = {"clip.txt": VENV / "extra" / "clip"}  # installed alone, seen by one process only
LOG = ROOT / ".cache" / "setup.log"
SHOWN_LINES, TICK_S = 25, 1.0
OLDEST = (3, 11)
NEWER = ("python3.11", "python3.12", "python3.13")
DEFAULT_TIMEOUT_S = "180"


class Problem(Exception):
    """The message says what to do, one line."""


def say(text: str) -> None:
    sys.stdout.write(f"setup: {text}\n")
    sys.stdout.flush()


def run(command: list[str], env: dict[str, str] | None = None) -> bool:
    """Run with its output in the log, and the time shown while it lasts; tell whether it went well."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as log:
        shown = ("***" if "@" in word else word for word in command)  # an address with a password
        log.write(f"$ {' '.join(shown)}\n".encode())
        log.flush()
        at = log.tell()
        options = {"cwd": ROOT, "env": {**os.environ, **(env or {})}}
        process = subprocess.Popen(command, stdout=log, stderr=log, **options)  # type: ignore[call-overload]
        code = _watch(process)
    if code:
        sys.stderr.write(_end_of(LOG, at))
    return bool(code == 0)


def _watch(process: "subprocess.Popen[bytes]") -> int:
    """Wait; on a terminal show that time passes."""
    started_s = time.monotonic()
    while True:
        try:
            code = process.wait(TICK_S)
        except subprocess.TimeoutExpired:
            _tick(f"\r       {time.monotonic() - started_s:.0f} s")
        except KeyboardInterrupt:
            process.terminate()
            raise
        else:
            _tick("\r\x1b[K")
            return code


def _tick(text: str) -> None:
    if sys.stdout.isatty():
        sys.stdout.write(text)
        sys.stdout.flush()


def _end_of(log: Path, at: int) -> str:
    lines = log.read_bytes()[at:].decode(errors="replace").splitlines()
    return "\n".join(["", *lines[-SHOWN_LINES:], f"(all of it is in {log.relative_to(ROOT)})", ""])


def main() -> None:
    options = _options()
    _check_python()
    files = _requirement_files(with_tests=options.with_tests)
    if options.with_tests:
        _install_system_packages()
    stamp_file, stamp = VENV / ".hub-stamp", _stamp(files)
    if _stamped(stamp_file, stamp, with_tests=options.with_tests):
        return
    started_s = time.monotonic()
    _make_environment()
    _install(files)
    _install_apart()
    stamp_file.write_text("\n".join(sorted({*_stamps(stamp_file), stamp})), encoding="ascii")
    say(f"ready in {time.monotonic() - started_s:.0f} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--with-tests", action="store_true", help="also what tests and lint need")
    return parser.parse_args()


def _check_python() -> None:
    """Go on with a newer Python if there is one beside an old `python3`."""
    if sys.version_info[:2] >= OLDEST:
        return
    for name in NEWER:
        if found := shutil.which(name):
            os.execv(found, [found, *sys.argv])  # noqa: S606 - no shell is wanted
    have = ".".join(map(str, sys.version_info[:3]))
    raise Problem(f"Python 3.11 or newer is needed, this is {have}; install it and run again")


# --- what to install ------------------------------------------------------------------------------


def _requirement_files(*, with_tests: bool) -> list[Path]:
    files = [_torch_file(), ROOT / "requirements.txt"]
    return [*files, REQUIREMENTS / "dev.txt"] if with_tests else files


def _torch_file() -> Path:
    wanted = os.environ.get("AI_HUB_DEVICE", "auto").lower()
    has_gpu = bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists()
    gpu = wanted == "cuda" or (wanted != "cpu" and has_gpu)
    return REQUIREMENTS / ("gpu.txt" if gpu else "cpu.txt")


def _stamp(files: list[Path]) -> str:
    """Change with any requirement, the choice of torch, and the Python version."""
    digest = hashlib.sha256(sys.version.encode())
    apart = [REQUIREMENTS / name for name in APART]
    for file in [*files, CONSTRAINTS, REQUIREMENTS / "overrides.txt", *apart]:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _stamps(file: Path) -> list[str]:
    return file.read_text(encoding="ascii").split() if file.exists() else []


def _stamped(file: Path, stamp: str, *, with_tests: bool) -> bool:
    """An environment with the test tools serves for running, too."""
    wanted = [stamp] if with_tests else [stamp, _stamp(_requirement_files(with_tests=True))]
    return PYTHON.exists() and any(each in _stamps(file) for each in wanted)


# --- the environment ------------------------------------------------------------------------------


def _make_environment() -> None:
    if PYTHON.exists() and _quiet([str(PYTHON), "-m", "pip", "--version"]) is not None:
        return
    say("making .venv")
    if not run([sys.executable, "-m", "venv", "--clear", str(VENV)]) and not _venv_by_apt():
        raise Problem(
            "this Python cannot make virtual environments; install its venv package"
            " (Debian: apt-get install python3-venv) and run again"
        )


def _venv_by_apt() -> bool:
    """Debian cuts venv out of Python; root can bring it back."""
    name = "python{}.{}-venv".format(*sys.version_info[:2])
    return _apt_install([name]) and run([sys.executable, "-m", "venv", "--clear", str(VENV)])


def _quiet(command: list[str]) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout if done.returncode == 0 else None


def _install(files: list[Path]) -> None:
    """uv needs half a minute where pip needs many; pip is what every machine has."""
    settings = pip_settings(_quiet([str(PYTHON), "-m", "pip", "config", "list"]) or "", os.environ)
    installed = _have_uv() and _install_by_uv(files, settings)
    if not installed and not _install_by_pip(files):
        raise Problem("the packages could not be installed; the lines above say why")


def _have_uv() -> bool:
    if _quiet([str(PYTHON), "-m", "uv", "--version"]) is not None:
        return True
    say("installing uv, the fast installer")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "-c", str(CONSTRAINTS), "uv"]
    return run(pip, {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})


def _install_by_uv(files: list[Path], settings: dict[str, str]) -> bool:
    flags, env = uv_options(settings)
    base = [str(PYTHON), "-m", "uv", "pip", "install", "--python", str(PYTHON), *flags]
    base += ["-c", str(CONSTRAINTS), "--override", str(REQUIREMENTS / "overrides.txt")]
    torch, *others = files
    say(f"installing torch ({torch.stem}), the largest part")
    if not run([*base, "-r", str(torch)], env) and not _default_torch(base, torch, env):
        return False
    say("installing everything else: " + ", ".join(str(f.relative_to(ROOT)) for f in others))
    return run([*base, *_as_files(others)], env)


def _default_torch(base: list[str], torch: Path, env: dict[str, str]) -> bool:
    if torch.stem != "cpu":
        return False
    say(
        "no index you configured has torch's CPU build: taking the default one, which may bring"
        " several GB of CUDA libraries (add an index with CPU builds to pip's configuration to"
        " avoid it)"
    )
    return run([*base, "-r", str(REQUIREMENTS / "gpu.txt")], env)


def _install_by_pip(files: list[Path]) -> bool:
    """pip knows no overrides: the whole lock goes in without following dependencies."""
    say("installing with pip; this takes minutes")
    base = [str(PYTHON), "-m", "pip", "install"]
    torch = [*base, "-c", str(CONSTRAINTS), "-r", str(files[0])]
    default = [*base, "-c", str(CONSTRAINTS), "-r", str(REQUIREMENTS / "gpu.txt")]
    return (run(torch) or run(default)) and run([*base, "--no-deps", "-r", str(CONSTRAINTS)])


def _install_apart() -> None:
    """Each set goes into a folder of its own, by pip: it has no dependencies to resolve."""
    for name, folder in APART.items():
        say(f"installing {name.removesuffix('.txt')} into {folder.relative_to(ROOT)}")
        command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
        command += ["--target", str(folder), "-r", str(REQUIREMENTS / name)]
        if not run(command, {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_USER": "0"}):
            say("going on without it: models in open_clip's layout cannot be served")


def _as_files(files: list[Path]) -> list[str]:
    return [word for file in files for word in ("-r", str(file))]


# --- pip's configuration, for uv ------------------------------------------------------------------


def pip_settings(listing: str, environ: "os._Environ[str] | dict[str, str]") -> dict[str, str]:
    """Read `pip config list` and PIP_* variables; what is said later wins."""
    settings: dict[str, str] = {}
    for line in sorted(listing.splitlines()):
        place, separator, value = line.partition("=")
        section, _, name = place.rpartition(".")
        if separator and section in {"global", "install"}:
            settings[name] = value.strip().strip("'\"").replace("\\n", " ")
    for name, value in environ.items():
        if name.startswith("PIP_"):
            settings[name[4:].lower().replace("_", "-")] = value
    return settings


def uv_options(settings: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Give uv's flags and variables for pip's settings.

    With several indexes uv would look no further than the first that knows a name; pip takes the
    best version of all, and so must uv here.
    """
    flags: list[str] = []
    repeated = {
        "extra-index-url": "--extra-index-url",
        "find-links": "--find-links",
        "trusted-host": "--allow-insecure-host",
    }
    for name, flag in repeated.items():
        for value in settings.get(name, "").split():
            flags += [flag, value]
    if index := settings.get("index-url"):
        flags += ["--index-url", index]
    if settings.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        flags.append("--no-index")
    if "extra-index-url" in settings:
        flags += ["--index-strategy", "unsafe-best-match"]
    return flags, _uv_environment(settings)


def _uv_environment(settings: dict[str, str]) -> dict[str, str]:
    env = {"UV_HTTP_TIMEOUT": settings.get("default-timeout", DEFAULT_TIMEOUT_S)}
    if settings.get("cert"):
        env["SSL_CERT_FILE"] = settings["cert"]
    if settings.get("proxy"):
        env |= {"HTTP_PROXY": settings["proxy"], "HTTPS_PROXY": settings["proxy"]}
    return env


# --- what tests want of the system ----------------------------------------------------------------


def _install_system_packages() -> None:
    """Chromium for the browser tests; without it (a plain user's machine) they are skipped."""
    if shutil.which("chromium") or shutil.which("chromium-browser"):
        return
    if not _apt_install(["chromium"]):
        say("no Chromium: browser tests will be skipped (Debian: apt-get install chromium)")


def _apt_install(names: list[str]) -> bool:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    say("installing " + ", ".join(names) + " with apt-get")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *names]
    return run(install, env) or (run(["apt-get", "update", "-q"], env) and run(install, env))


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"setup: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
