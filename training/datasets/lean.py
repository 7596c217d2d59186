"""Tokenizers compute no tensors: a process that only counts tokens does without torch's 300 MB."""

import os
import sys


def without_torch() -> None:
    """Call before transformers is imported, in a process of its own: it then takes torch for missing."""
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    sys.modules["torch"] = None  # type: ignore[assignment]  # Source: importlib, "import of torch halted"
