"""A node for tests that share one, and a way to start others."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.inference.node import nodes
from tests.inference.node.nodes import Node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    running = nodes.start(tmp_path_factory.mktemp("n"))
    yield running
    nodes.stop(running)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    started: list[Node] = []

    def begin(**options: object) -> Node:
        started.append(nodes.start(tmp_path, **options))
        return started[-1]

    yield begin
    for running in started:
        nodes.stop(running)
