"""What is found out about files before they are served: licence, template, vocabulary, sums."""

import json
import shutil
from pathlib import Path

import pytest
from pytest_django import Settings

from inference import inspection, model_card, preparation, reading
from inference.errors import UnsafeModel
from inference.preparation import Bounds
from tests import models
from tests.inference import tiny_files


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags:\n- chat\n---\n# Model", "apache-2.0"),
        ('---\nlicense: "mit"  # free\n---\n', "mit"),
        ("---\nlicense:\n- cc-by-4.0\n- mit\n---\n", "cc-by-4.0"),
        ("---\nlicense: [llama3, mit]\n---\n", "llama3"),
        ("---\nlicense: other\nlicense_name: gemma\n---\n", "gemma"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\ntags: x\nlicence: mit\n---\n", ""),
        ("# Model\nlicense: mit\n", ""),
        ("---\nlicense: mit\n", ""),
        ("---\nlicense: <img src=x onerror=alert(1)>\n---\n", ""),
        ("---\n" + "x: y\n" * 20_000 + "license: mit\n---\n", ""),
    ],
)
def test_the_readme_names_the_licence(tmp_path: Path, text: str, licence: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert model_card.licence(tmp_path) == licence


def test_a_folder_without_a_readme_names_none(tmp_path: Path) -> None:
    assert model_card.licence(tmp_path) == ""


def template(folder: Path, source: object) -> Path:
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": source}))
    return folder


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "fine"),
        ("{% for m in messages %}{{ m.content }}", "broken"),
        ([{"name": "default", "template": "{{ messages"}], "broken"),
        ({"default": "{{ messages }}", "tool_use": "{% if %}"}, "broken"),
        ("{{ " + "(" * 5000 + " }}", "broken"),
        ("", ""),
        (7, ""),
    ],
)
def test_a_template_that_does_not_compile_is_a_finding(
    tmp_path: Path, source: object, found: str
) -> None:
    report = inspection.inspect(template(tiny_files.folder(tmp_path / "m"), source))
    assert report.template == found
    assert [inspection.PLAIN in warning for warning in report.warnings] == [True] * (
        found == "broken"
    )


def test_a_template_in_a_file_of_its_own_counts(tmp_path: Path) -> None:
    folder = tiny_files.folder(tmp_path / "m")
    (folder / "chat_template.jinja").write_text("{% endfor %}")
    assert inspection.inspect(folder).template == "broken"


def test_a_template_has_no_more_than_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    few = Bounds(cpu_s=1, data_bytes=2**20, file_bytes=2**20)
    monkeypatch.setattr(preparation, "TEMPLATE", few)
    (problem,) = preparation.template_problems(["{{ messages }}" * 20_000])
    assert "too much memory" in problem


def test_weights_packed_for_vllm_are_refused_where_there_is_none(
    tmp_path: Path, settings: Settings
) -> None:
    packed = {"quant_method": "awq", "bits": 4}
    folder = tiny_files.folder(tmp_path / "m", quantization_config=packed)
    settings.HUB_VLLM_PYTHON = ""
    with pytest.raises(UnsafeModel, match="quantized as awq, which only vLLM computes"):
        inspection.inspect(folder)
    settings.HUB_VLLM_PYTHON = "/opt/vllm/bin/python"
    assert inspection.inspect(folder).engine == "llm_vllm"


def test_it_counts_the_vocabulary_and_sums_every_file(tmp_path: Path) -> None:
    folder = tiny_files.folder(tmp_path / "m", vocab_size=4)
    assert reading.inspect(folder).vocab_tokens == 4
    before = reading.sums(folder)
    assert {file.path for file in before} == {"config.json", "model.safetensors", "tokenizer.json"}
    (folder / "config.json").write_bytes(tiny_files.config(vocab_size=5))
    after = reading.sums(folder)
    assert reading.fingerprint(before) != reading.fingerprint(after)
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True, True]


@pytest.mark.models
def test_it_reads_the_table_of_ctranslate2s_files(tmp_path: Path) -> None:
    real = models.whisper_tiny_en()
    report = reading.inspect(real)
    assert (report.kind, report.quantization, report.vocab_tokens) == ("asr", "F16", 51_864)
    assert 37_000_000 < (report.parameters or 0) < 39_000_000
    shutil.copytree(real, tmp_path / "cut")
    with (tmp_path / "cut" / "model.bin").open("r+b") as file:
        file.truncate(70_000_000)
    with pytest.raises(UnsafeModel, match="cut off"):
        reading.inspect(tmp_path / "cut")


# --- tokenizers -------------------------------------------------------------------------------------

BROKEN = {
    "cut off": tiny_files.tokenizer("a", "b")[:-9],
    "empty": b"",
    "no object": b"[]",
    "an object of nothing": b"{}",
    "another type of model": tiny_files.tokenizer("a").replace(b"WordLevel", b"Novel"),
    "a vocabulary that is a list": tiny_files.tokenizer("a").replace(b'{"a": 0}', b'["a"]'),
    "ids that are texts": tiny_files.tokenizer("a").replace(b'"a": 0', b'"a": "0"'),
    "ids below zero": tiny_files.tokenizer("a").replace(b'"a": 0', b'"a": -1'),
    "ids beyond 32 bits": tiny_files.tokenizer("a").replace(b'"a": 0', b'"a": 4294967296'),
    "merges of no words": json.dumps(
        {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["b c"]}}
    ).encode(),
    "nesting": b"[" * 200_000,
    "bytes that are no text": b"\xff\xfe{}",
}

NO_WORDS = json.dumps({"model": {"type": "BPE", "vocab": {}, "merges": []}}).encode()


def judged(folder: Path, content: bytes) -> reading.Report:
    (folder / "tokenizer.json").write_bytes(content)
    return inspection.inspect(folder)


@pytest.mark.parametrize("what", BROKEN)
def test_a_tokenizer_that_cannot_be_read_is_refused(tmp_path: Path, what: str) -> None:
    folder = tiny_files.folder(tmp_path / "m")
    with pytest.raises(UnsafeModel, match=r"tokenizer\.json is no tokenizer"):
        judged(folder, BROKEN[what])


def test_a_tokenizer_without_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsafeModel, match="knows no tokens"):
        judged(tiny_files.folder(tmp_path / "m"), NO_WORDS)


def test_a_tokenizer_has_no_more_than_its_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Bounds(cpu_s=10, data_bytes=64 * 2**20, file_bytes=2**20)
    monkeypatch.setattr(preparation, "TOKENIZER", few)
    many = tiny_files.tokenizer(*(f"word{number}" for number in range(300_000)))
    with pytest.raises(UnsafeModel, match=r"tokenizer\.json is no tokenizer"):
        judged(tiny_files.folder(tmp_path / "m"), many)


def test_a_token_without_a_vector_is_refused(tmp_path: Path) -> None:
    folder = tiny_files.folder(tmp_path / "m", vocab_size=4)
    assert judged(folder, tiny_files.tokenizer("a", "b", "c", "d")).warnings == []
    with pytest.raises(UnsafeModel, match="gives token 4, but the model has vectors for 4 tokens"):
        judged(folder, tiny_files.tokenizer("a", "b", "c", "d", "e"))


def test_an_added_token_without_a_vector_is_told(tmp_path: Path) -> None:
    """As Gemma 3 of one billion parameters has it: the token for an image, which it cannot see."""
    made = json.loads(tiny_files.tokenizer("a", "b", "c", "d"))
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    made["added_tokens"] = [{"id": 4, "content": "<image>", "special": True, **flags}]
    report = judged(tiny_files.folder(tmp_path / "m"), json.dumps(made).encode())
    assert report.warnings == [
        "the model has no vector for '<image>': a request with one is refused"
    ]


@pytest.mark.parametrize(
    ("there", "word"),
    [
        ([], "tokenizer.json is missing"),
        (["vocab.json"], "tokenizer.json is missing"),
        (["tokenizer.model"], "tokenizer.model alone is not read"),
        (["vocab.json", "merges.txt"], ""),
        (["vocab.txt"], ""),
    ],
)
def test_a_model_of_text_needs_a_tokenizer(tmp_path: Path, there: list[str], word: str) -> None:
    folder = tiny_files.folder(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    for name in there:
        (folder / name).write_text("{}")
    if not word:
        assert reading.inspect(folder).kind == "llm"
        return
    with pytest.raises(UnsafeModel, match=word):
        reading.inspect(folder)
