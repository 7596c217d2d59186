"""The README's examples run as they stand, against a whole hub."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import environments
from tests.real_hub import Hub
from tests.training.jobs import chats

pytestmark = [pytest.mark.clients, pytest.mark.models]
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def filled(example: str, hub: Hub) -> str:
    return example.replace("http://127.0.0.1:8000/v1", hub.base_url).replace("hub_...", hub.key)


def output(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("number", range(len(examples("python"))))
def test_it_runs_the_python_examples(
    running_hub: Hub, speech: Path, tmp_path: Path, number: int
) -> None:
    shutil.copy(speech, tmp_path / "speech.flac")
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats(12)))
    example = filled(examples("python")[number], running_hub)
    assert len(output([sys.executable, "-c", example], tmp_path).split()) > 1


def test_it_runs_the_javascript_example(running_hub: Hub) -> None:
    folder = environments.node_modules("openai@7.57.0")
    program = folder / "readme.mjs"
    program.write_text(filled(examples("js")[0], running_hub))
    assert output([*environments.node(), str(program)], folder).strip()


def test_it_runs_the_curl_example(running_hub: Hub, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    command = filled(next(e for e in examples("sh") if e.startswith("curl")), running_hub)
    assert '"chat.completion"' in output(
        ["sh", "-c", command.replace("curl", "curl -s", 1)], tmp_path
    )


def test_it_links_only_to_files_that_are_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


def test_it_names_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
