"""All that is found out about files before they are served. Called by `arrivals` and `preview`.

`reading` reads headers; chat templates, which are a stranger's code, are compiled in a child process,
and tokenizers read in one.
"""

from pathlib import Path

from django.conf import settings

from inference import chat_templates, preparation, reading, tokenizer_files
from inference.errors import UnsafeModel
from inference.reading import Report

PLAIN = "its chat template does not compile, so chats are rendered plainly: "
SAID_BY_ENGINES = "the model's chat template does not compile: "


def inspect(place: Path) -> Report:
    """Raises: UnsafeModel; OSError."""
    report = at_a_glance(place)
    _check_tokenizer(place, report)
    _check_templates(place / report.path if report.path else place, report)
    return report


def at_a_glance(place: Path) -> Report:
    """Do all but what takes a process of its own. Raises: UnsafeModel."""
    report = reading.inspect(place)
    if report.engine == "llm_vllm" and not settings.HUB_VLLM_PYTHON:
        raise UnsafeModel(
            f"it is quantized as {report.quantization}, which only vLLM computes here: name its Python"
            " in AI_HUB_VLLM_PYTHON, or take the model's plain weights"
        )
    return report


def _check_tokenizer(place: Path, report: Report) -> None:
    """What it gives must have a vector in the model. Raises: UnsafeModel; OSError."""
    file = tokenizer_files.readable(place) if report.kind != "adapter" else None
    if file is None:
        return
    try:
        found = preparation.tokenizer(file)
    except preparation.PreparationFailed as error:
        raise UnsafeModel(f"{file.name} is no tokenizer that can be read: {error}") from error
    if not found.words:
        raise UnsafeModel(f"{file.name} knows no tokens")
    if report.vocab_tokens and not report.words_beyond:
        _compare(found, report)


def _compare(found: preparation.Tokens, report: Report) -> None:
    """Raises: UnsafeModel."""
    rows = report.vocab_tokens
    if found.highest >= rows:
        raise UnsafeModel(
            f"tokenizer.json gives token {found.highest}, but the model has vectors for {rows} tokens:"
            " they do not belong together"
        )
    if beyond := [ascii(text) for number, text in found.added.items() if number >= rows]:
        names = ", ".join(beyond[:5]) + (" ..." if len(beyond) > 5 else "")
        report.warnings.append(
            f"the model has no vector for {names}: a request with one is refused"
        )


def _check_templates(place: Path, report: Report) -> None:
    sources = chat_templates.of(place)
    if not sources:
        return
    problems = [problem for problem in preparation.template_problems(sources) if problem]
    report.template = "broken" if problems else "fine"
    for problem in dict.fromkeys(problems):
        report.warnings.append(f"{PLAIN}{problem.removeprefix(SAID_BY_ENGINES)[:300]}")
