"""The architectures that are taken at adding are those that the libraries take."""

from pathlib import Path

import gguf
import pytest
import xllamacpp
from transformers.models.auto import modeling_auto

from inference import model_types, reading
from inference.engines import vlm_transformers
from inference.errors import UnsafeModel
from tests.inference.engines import tiny_vision

NO_WRITERS = {"clip", "wavtokenizer-dec", "t5encoder"}


def test_they_are_those_of_transformers() -> None:
    assert set(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) == model_types.CAUSAL
    assert set(modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES) == model_types.IMAGE_TEXT
    others = set(modeling_auto.MODEL_MAPPING_NAMES)
    assert others >= model_types.ENCODERS | model_types.JOINED
    masked = set(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES) & others
    assert masked <= model_types.BY_KIND["embed"]


def test_they_are_those_of_llama_cpp() -> None:
    packaged = set(gguf.MODEL_ARCH_NAMES.values())
    assert packaged - NO_WRITERS <= model_types.GGUF
    library = next(Path(xllamacpp.__file__).parent.glob("*.so")).read_bytes()
    newer = model_types.GGUF - packaged
    assert [name for name in newer if name.encode() not in library] == []


def test_what_is_refused_while_it_loads_is_refused_before(tmp_path: Path) -> None:
    assert model_types.BOTH_WAYS == vlm_transformers.BOTH_WAYS
    for kind in tiny_vision.UNSERVED:
        with pytest.raises(UnsafeModel, match="look at an image in both directions"):
            reading.inspect(tiny_vision.make(tmp_path / kind, kind))


def test_the_page_names_every_one() -> None:
    page = (
        (Path(__file__).parents[2] / "docs/models.md")
        .read_text()
        .split("## Every architecture")[1]
        .split()
    )
    assert set(page) >= frozenset().union(*model_types.BY_KIND.values(), model_types.GGUF)
