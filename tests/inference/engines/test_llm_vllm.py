"""vLLM as a managed child: the real server's CPU build, from an environment of its own."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from inference import wire
from inference.engines.base import Setting
from inference.engines.llm_transformers import LlmTransformers
from inference.engines.llm_vllm import LlmVllm
from inference.engines.vllm_command import Options, command, environment
from inference.errors import LoadFailed
from tests import environments, models
from tests.inference.engines import tiny_adapters
from tests.inference.engines.driving import Answer, Driver

GIB = 1024**3
STORY = wire.TextPrompt(text="Once upon a time, there was a little")


def spec(folder: Path | str, **fields: object) -> wire.ModelSpec:
    known = {"name": "m", "kind": "llm", "engine": "llm_vllm", "path": str(folder)}
    return wire.ModelSpec(**(known | fields))  # type: ignore[arg-type]


def setting(device: str = "cpu", memory_bytes: int = 0) -> Setting:
    return Setting(2, device, memory_bytes, lambda _done, _total: None)


# --- how it is started ----------------------------------------------------------------------------


def test_it_spreads_a_model_over_gpus(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    many = spec(tmp_path, options={"tensor_parallel_size": 4, "pipeline_parallel_size": 2})
    words = command("py", many, Options.of(many), 1, setting("cuda:0", 80 * GIB))
    assert words[words.index("--tensor-parallel-size") + 1] == "4"
    assert words[words.index("--pipeline-parallel-size") + 1] == "2"
    kv_bytes = int(words[words.index("--kv-cache-memory-bytes") + 1])
    assert 77 * GIB < kv_bytes < 78 * GIB


@pytest.mark.parametrize("most", [0, 3])
def test_it_takes_adapters_only_where_asked_to(most: int) -> None:
    many = spec("/m", options={"max_loras": most, "max_lora_rank": "64"})
    words = command("py", many, Options.of(many), 1, setting())
    env = environment({}, many, Options.of(many), setting(memory_bytes=5 * GIB), "k")
    assert ("--enable-lora" in words) is bool(most)
    assert ("VLLM_ALLOW_RUNTIME_LORA_UPDATING" in env) is bool(most)


def test_it_gets_a_bare_environment() -> None:
    given = {"PATH": "/bin", "AI_HUB_SECRET_KEY": "x", "HTTPS_PROXY": "y", "HF_TOKEN": "z"}
    found = environment(given, spec("/m"), Options(), setting(memory_bytes=5 * GIB), "k")
    assert not {"AI_HUB_SECRET_KEY", "HTTPS_PROXY", "HF_TOKEN"} & found.keys()
    assert found["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert found["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("options", [{"trust_remote_code": True}, {"tensor_parallel_size": 0}])
def test_it_refuses_other_options(options: dict[str, object]) -> None:
    with pytest.raises(LoadFailed, match="options"):
        Options.of(spec("/m", options=options))


@pytest.mark.models
def test_it_says_where_vllm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUB_VLLM_PYTHON", raising=False)
    with pytest.raises(LoadFailed, match="AI_HUB_VLLM_PYTHON"):
        Driver(LlmVllm(), spec(models.smollm2_folder()))


# --- a real one -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vllm() -> Iterator[Driver]:
    os.environ["HUB_VLLM_PYTHON"] = str(environments.python_of("peers-vllm"))
    asked = spec(
        models.smollm2_folder(),
        dtype="float32",
        context_tokens=512,
        options={"max_num_seqs": 8, "enforce_eager": True, "max_loras": 2},
    )
    driver = Driver(LlmVllm(), asked)
    del os.environ["HUB_VLLM_PYTHON"]
    yield driver
    driver.engine.close()


@pytest.fixture(scope="module")
def reference() -> Iterator[Driver]:
    asked = spec(models.smollm2_folder(), engine="llm_transformers", dtype="float32")
    driver = Driver(LlmTransformers(), asked)
    yield driver
    driver.engine.close()


def greedy(prompt: wire.Prompt, tokens: int = 12, **fields: object) -> wire.Generate:
    rules = wire.Sampling(temperature=0.0, max_tokens=tokens)
    return wire.Generate(prompt=prompt, sampling=rules, **fields)  # type: ignore[arg-type]


def text_of(answer: Answer) -> str:
    return "".join(delta.text for delta in answer.of(wire.Delta))


pytestmark = pytest.mark.timeout(900)


@pytest.mark.models
def test_it_answers_as_the_library_does(vllm: Driver, reference: Driver) -> None:
    chat = wire.ChatPrompt(messages=[wire.ChatMessage("user", "Name three colors. <|im_end|>")])
    for prompt in (STORY, chat):
        ours, theirs = vllm.ask(greedy(prompt)), reference.ask(greedy(prompt))
        assert text_of(ours) == text_of(theirs)
        assert ours.wait().usage.prompt_tokens == theirs.wait().usage.prompt_tokens


@pytest.mark.models
def test_it_names_tokens_by_their_bytes(vllm: Driver, reference: Driver) -> None:
    ours = vllm.ask(greedy(STORY, 6, logprobs=2))
    theirs = reference.ask(greedy(STORY, 6, logprobs=2))
    found, expected = (
        [lp for d in answer.of(wire.Delta) for lp in d.logprobs] for answer in (ours, theirs)
    )
    assert [lp.raw for lp in found] == [lp.raw for lp in expected]
    assert [lp.logprob for lp in found] == pytest.approx([lp.logprob for lp in expected], abs=0.02)


@pytest.mark.models
def test_it_checks_the_context_first(vllm: Driver) -> None:
    assert vllm.failure(greedy(STORY, 512)).code == "context_length_exceeded"


@pytest.mark.models
def test_a_cancel_ends_the_answer(vllm: Driver) -> None:
    answer = vllm.start(greedy(STORY, 400))
    answer.wait_for(lambda: len(answer.frames) > 2)
    vllm.engine.cancel(answer.stream)
    assert answer.wait().usage.completion_tokens < 400
    assert isinstance(vllm.ask(wire.Probe()).wait(), wire.Done)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> wire.Adapter:
    folder = tmp_path_factory.mktemp("adapters") / "pirate"
    return tiny_adapters.make(folder, models.smollm2_folder(), std=0.12)


@pytest.mark.models
def test_an_adapter_answers_beside_its_base(
    vllm: Driver, reference: Driver, adapter: wire.Adapter
) -> None:
    """As transformers' own engine computes it; the base is asked at once with it, and not changed."""
    both = [vllm.start(greedy(STORY, adapter=name)) for name in (adapter, None, adapter)]
    expected = [text_of(reference.ask(greedy(STORY, adapter=name))) for name in (adapter, None)]
    assert [text_of(a) for a in both if a.wait()] == [*expected, expected[0]]
    assert expected[0] != expected[1]
    assert vllm.engine.stats().adapters == ["pirate"]


@pytest.mark.models
def test_an_adapter_is_let_go_and_comes_again(vllm: Driver, adapter: wire.Adapter) -> None:
    first = text_of(vllm.ask(greedy(STORY, adapter=adapter)))
    vllm.engine.detach("pirate")
    vllm.ask(wire.Probe())
    assert vllm.engine.stats().adapters == []
    assert text_of(vllm.ask(greedy(STORY, adapter=adapter))) == first


@pytest.mark.models
def test_an_adapter_that_cannot_be_read_fails_alone(vllm: Driver, tmp_path: Path) -> None:
    missing = wire.Adapter(name="lost", path=str(tmp_path), version="1")
    failure = vllm.failure(greedy(STORY, adapter=missing))
    assert failure.code == "model_load_failed"
    assert "lost cannot be attached by vLLM" in failure.message
    assert isinstance(vllm.ask(greedy(STORY)).wait(), wire.Done)


def is_server(process: psutil.Process) -> bool:
    """Other tests' children may have ended without being waited for."""
    with contextlib.suppress(psutil.Error):
        return "api_server" in " ".join(process.cmdline())
    return False


@pytest.mark.models
def test_it_leaves_no_process(vllm: Driver) -> None:
    """Last in this file: it ends the server."""
    family = [
        process
        for child in psutil.Process().children()
        if is_server(child)
        for process in (child, *child.children(recursive=True))
    ]
    assert len(family) > 1
    vllm.engine.close()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
