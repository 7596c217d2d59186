"""The sleep of vLLM's engine, with a server that has vLLM's paths and a flag for a sleep."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inference import wire
from inference.engines.base import Job, Setting
from inference.engines.llm_vllm import LlmVllm
from inference.engines.vllm_command import Options, command, environment
from inference.errors import EngineFailed, UnsupportedModel
from tests.inference.engines import tiny_adapters, tiny_models, tiny_vllm
from tests.inference.engines.driving import Answer

BODY = wire.Generate(
    prompt=wire.TextPrompt(text="once upon a time"), sampling=wire.Sampling(max_tokens=3)
)
Load = Callable[..., tuple[LlmVllm, wire.Loaded]]


def setting(device: str = "cuda:0", *, is_alone: bool = True) -> Setting:
    return Setting(1, device, 0, lambda _done, _total: None, is_alone=is_alone)


def spec(folder: Path | str = "/m", **options: str | float | bool) -> wire.ModelSpec:
    return wire.ModelSpec(
        name="m", kind="llm", engine="llm_vllm", path=str(folder), options=options
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.make(tmp_path_factory.mktemp("models") / "tiny", "llama")


@pytest.fixture
def load(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HUB_VLLM_PYTHON", str(tiny_vllm.__file__))
    engines = []

    def begin(given: Setting, **options: bool) -> tuple[LlmVllm, wire.Loaded]:
        engine = LlmVllm()
        engines.append(engine)
        return engine, engine.load(spec(folder, **options), given)

    yield begin
    for engine in engines:
        engine.close()


def text(engine: LlmVllm, body: wire.Generate = BODY) -> str:
    answer = Answer(1)
    engine.submit(Job(1, body, answer.emit))
    assert isinstance(answer.wait(), wire.Done), answer.wait()
    return "".join(delta.text for delta in answer.of(wire.Delta))


@pytest.mark.parametrize(
    ("wanted", "device", "is_alone", "sleeps"),
    [
        (True, "cuda:0", True, True),
        (False, "cuda:0", True, False),
        (True, "cpu", True, False),
        (True, "cuda:0", False, False),
    ],
)
def test_only_who_has_its_loopback_alone_opens_paths_without_a_key(
    wanted: bool, device: str, is_alone: bool, sleeps: bool
) -> None:
    given, asked = setting(device, is_alone=is_alone), spec(enable_sleep_mode=wanted)
    options = Options.of(asked)
    words = command("py", asked, options, 1, given)
    assert ("--enable-sleep-mode" in words) is sleeps
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert ("VLLM_SERVER_DEV_MODE" in environment({}, asked, options, given, "k")) is sleeps


def test_it_sleeps_and_answers_as_before(load: Load) -> None:
    engine, loaded = load(setting(), enable_sleep_mode=True)
    assert loaded.sleeps
    engine.sleep()
    woken = engine.wake()
    assert (woken.sleeps, woken.context_tokens) == (True, loaded.context_tokens)
    assert text(engine) == "xxx"


@pytest.mark.parametrize("given", [setting("cpu"), setting(is_alone=False)])
def test_where_it_cannot_sleep_it_says_so(load: Load, given: Setting) -> None:
    engine, loaded = load(given, enable_sleep_mode=True)
    assert not loaded.sleeps
    with pytest.raises(UnsupportedModel):
        engine.sleep()
    assert text(engine) == "xxx"


def test_a_server_that_does_not_fall_asleep_is_not_believed(load: Load, tmp_path: Path) -> None:
    engine, _ = load(setting(), enable_sleep_mode=True)
    (tmp_path / "sleeps_badly").touch()
    with pytest.raises(EngineFailed, match="does not"):
        engine.sleep()


def test_a_server_that_answers_otherwise_after_its_sleep_is_not_believed(
    load: Load, tmp_path: Path
) -> None:
    """By its status it is awake and well."""
    engine, _ = load(setting(), enable_sleep_mode=True)
    engine.sleep()
    (tmp_path / "wakes_badly").touch()
    with pytest.raises(EngineFailed, match="otherwise than before"):
        engine.wake()


def test_an_adapter_that_goes_in_its_sleep_is_let_go_when_it_wakes(
    load: Load, folder: Path, tmp_path: Path
) -> None:
    engine, _ = load(setting(), enable_sleep_mode=True, max_loras=1)
    adapter = tiny_adapters.make(tmp_path / "pirate", folder)
    text(engine, wire.Generate(prompt=BODY.prompt, sampling=BODY.sampling, adapter=adapter))
    engine.sleep()
    engine.detach("pirate")
    engine.wake()
    assert engine.stats().adapters == []
    paths = [line.split()[2] for line in (tmp_path / "asked").read_text().splitlines()]
    assert paths.index("/wake_up") < paths.index("/v1/unload_lora_adapter")
