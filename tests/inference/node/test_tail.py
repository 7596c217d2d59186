"""The last lines of an engine can be read, also once it has ended."""

from inference import wire
from tests.inference.node.nodes import Node, ask, fake


async def test_it_keeps_what_an_engine_said_before_it_ended(node: Node) -> None:
    broken = fake("torn", fail_load="the weights are torn")
    found = await ask(node, wire.Load(spec=broken))
    assert isinstance(found[-1], wire.Failure)
    await ask(node, wire.Unload(model="torn"))
    (said,) = await ask(node, wire.Tail(model="torn"))
    assert isinstance(said, wire.Lines)
    assert any("the weights are torn" in line for line in said.lines)


async def test_it_has_nothing_to_tell_of_a_model_that_nobody_loaded(node: Node) -> None:
    assert await ask(node, wire.Tail(model="unknown")) == [wire.Lines()]


async def test_it_tells_what_an_engine_that_answers_has_loaded(node: Node) -> None:
    found = await ask(node, wire.Load(spec=fake("calm")))
    assert isinstance(found[-1], wire.Loaded)
    lines: list[str] = []
    while not any("ready after" in line for line in lines):  # its words come by a pipe of their own
        (said,) = await ask(node, wire.Tail(model="calm"))
        assert isinstance(said, wire.Lines)
        lines = said.lines
    assert any("loading fake on cpu" in line for line in lines)
