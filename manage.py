"""Entry point of every management command: `python3 manage.py COMMAND`."""

import os
import sys
from pathlib import Path

VENV = Path(__file__).resolve().parent / ".venv"


def main() -> None:
    os.umask(0o077)  # what the hub keeps is its owner's alone
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
    try:
        import django  # noqa: F401, PLC0415
    except ModuleNotFoundError:
        go_on_in_environment()
    run()


def run() -> None:
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415
    from django.core.management import execute_from_command_line  # noqa: PLC0415

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"The hub cannot start: {error}.")
    except Exception as error:
        from hub import troubles  # noqa: PLC0415

        if (line := troubles.line(error)) is None:
            raise
        sys.exit(line)


def go_on_in_environment() -> None:
    """Start again with the Python of the environment that `make setup` made."""
    python = VENV / "bin" / "python"
    if Path(sys.prefix).resolve() == VENV.resolve() or not python.exists():
        sys.exit("The packages are not installed: run `make setup` first.")
    os.execv(python, [str(python), *sys.argv])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
