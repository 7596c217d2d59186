"""Loading a model of the library's whose every weight is in its files: it fills the others with noise.

Used by the engines that load whole models of transformers.
"""

from pathlib import Path
from typing import Any

from inference.errors import LoadFailed

# What some files leave out, and no engine computes with.
UNUSED = ("pooler.", "contact_head.")


def load(auto: Any, folder: Path, **options: Any) -> Any:
    """Raises: LoadFailed; what transformers raises."""
    model, told = auto.from_pretrained(
        folder,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        **options,
    )
    missing = sorted(name for name in told["missing_keys"] if not name.startswith(UNUSED))
    if missing:
        raise LoadFailed(
            f"{folder.name} lacks {len(missing)} weights of its model: {missing[0]} ..."
        )
    return model
