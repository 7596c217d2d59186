"""A tiny base and an adapter of it, for whoever tests adapters; others need no peft for it."""

from pathlib import Path

import pytest

from inference import wire


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from . import tiny_models  # noqa: PLC0415

    return tiny_models.make(tmp_path_factory.mktemp("llama") / "base", "llama")


@pytest.fixture(scope="module")
def tuned(llama: Path) -> wire.Adapter:
    from . import tiny_adapters  # noqa: PLC0415

    return tiny_adapters.make(llama.parent / "tuned", llama)
