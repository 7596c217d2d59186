"""The scheduler's page on a machine with several GPUs: where a model could go, and why it goes where it does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import people
from accounts.models import User
from inference import catalog
from inference.models import Model
from tests.inference.node import nodes
from tests.inference.node.nodes import Node
from tests.inference.node.test_several_gpus import DRIVER

PASSWORD = "correct horse battery"
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url", "node")]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[Node]:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(DRIVER)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    running = nodes.start(tmp_path)
    settings.HUB_NODE_ADDRESS = f"unix:{running.path}"
    yield running
    nodes.stop(running)


def test_it_names_each_gpu_and_why_one_is_taken(client: Client) -> None:
    client.force_login(people.create("ada", PASSWORD, role=User.Role.ADMIN))
    Model.objects.create(name="house", kind="llm", engine="fake", path="/m")
    catalog.invalidate()
    page = client.get("/scheduler/", {"model": "house"}).content.decode()
    assert "Where it could go" in page
    place = page.index('data-panel="held"')  # what is in memory changes under one's eyes
    assert page.index("0 models in memory.") > place
    assert page.count("<h1") == 1
    assert page.index("<strong>cuda:0</strong>") < page.index("<strong>cuda:1</strong>")
    assert page.count('<span class="soft">taken</span>') == 1
    assert "cuda:0: most memory is left free there" in page
