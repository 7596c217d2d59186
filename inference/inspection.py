"""All that is found out about files before they are served. Called by `arrivals` and `preview`.

`reading` reads headers; what is a stranger's code, its chat templates, is compiled in a child process.
"""

from pathlib import Path

from django.conf import settings

from inference import chat_templates, preparation, reading
from inference.errors import UnsafeModel
from inference.reading import Report

PLAIN = "its chat template does not compile, so chats are rendered plainly: "
SAID_BY_ENGINES = "the model's chat template does not compile: "


def inspect(place: Path) -> Report:
    """Raises: UnsafeModel; OSError."""
    report = at_a_glance(place)
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


def _check_templates(place: Path, report: Report) -> None:
    sources = chat_templates.of(place)
    if not sources:
        return
    problems = [problem for problem in preparation.template_problems(sources) if problem]
    report.template = "broken" if problems else "fine"
    for problem in dict.fromkeys(problems):
        report.warnings.append(f"{PLAIN}{problem.removeprefix(SAID_BY_ENGINES)[:300]}")
