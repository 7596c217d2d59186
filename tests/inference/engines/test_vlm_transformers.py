"""Image-text models answer as transformers itself does, many at a time, and refuse before they compute."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from inference import wire
from inference.engines.llm_transformers import LlmTransformers
from inference.engines.vision_decoder import VisionDecoder
from inference.engines.vlm_transformers import VlmTransformers
from inference.errors import LoadFailed

from . import small_tokenizers, tiny_models, tiny_vision
from .driving import Answer, Driver

FILES = [tiny_vision.picture(1), tiny_vision.picture(2, (30, 70)), tiny_vision.picture(3, (90, 9))]
GREEDY = wire.Sampling(max_tokens=12, temperature=0, ignore_eos=True)
TEXT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def spec(folder: Path, context_tokens: int = 0) -> wire.ModelSpec:
    return wire.ModelSpec(
        name="eyes",
        kind="vlm",
        engine="vlm_transformers",
        path=str(folder),
        dtype="float32",
        context_tokens=context_tokens,
    )


def asks(*parts: str | int, sampling: wire.Sampling = GREEDY, n: int = 1) -> wire.Generate:
    """Ask with texts and with images by their number."""
    filled = [part if isinstance(part, str) else wire.Image(FILES[part]) for part in parts]
    text = "\n".join(part for part in parts if isinstance(part, str))
    message = wire.ChatMessage("user", text, parts=filled)
    return wire.Generate(
        prompt=wire.ChatPrompt(messages=[message]), sampling=sampling, n=n, logprobs=0
    )


def raw(answer: Answer) -> list[bytes]:
    """Give each token's own bytes."""
    assert isinstance(answer.wait(), wire.Done), answer.frames[-1]
    return [token.raw for delta in answer.of(wire.Delta) for token in delta.logprobs or ()]


def expected(reference: tiny_vision.Reference, *parts: str | int, count: int = 12) -> list[bytes]:
    text = "".join(part if isinstance(part, str) else "<image>" for part in parts)
    files = [FILES[part] for part in parts if isinstance(part, int)]
    _prompt, tokens = reference.greedy(TEXT.format(text), files, count)
    vocabulary = tiny_vision.vocabulary()
    return [vocabulary.token_text(token)[1] for token in tokens]


@pytest.fixture(scope="module", params=list(tiny_vision.KINDS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vision.make(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def driver(folder: Path) -> Iterator[Driver]:
    driver = Driver(VlmTransformers(), spec(folder))
    yield driver
    driver.engine.close()


@pytest.fixture(scope="module")
def reference(folder: Path) -> tiny_vision.Reference:
    return tiny_vision.Reference(folder)


@pytest.mark.parametrize("parts", [(0, "a"), ("what is ", 1, " and ", 2, "?"), ("no image",)])
def test_it_answers_as_transformers_does(
    driver: Driver, reference: tiny_vision.Reference, parts: tuple[str | int, ...]
) -> None:
    assert raw(driver.ask(asks(*parts))) == expected(reference, *parts)


def test_answers_do_not_depend_on_company(driver: Driver, reference: tiny_vision.Reference) -> None:
    questions: list[tuple[str | int, ...]] = [(at % 3, f"question {at}") for at in range(6)]
    questions += [("text only",), (0, 1, 2, "all")]
    answers = [driver.start(asks(*parts)) for parts in questions]
    for answer, parts in zip(answers, questions, strict=True):
        assert raw(answer) == expected(reference, *parts)


def test_the_same_image_is_not_computed_again(
    driver: Driver, reference: tiny_vision.Reference
) -> None:
    likeliest = wire.Sampling(max_tokens=12, top_k=1, ignore_eos=True)
    first = driver.ask(asks(1, "one and the same question", sampling=likeliest))
    again = driver.ask(asks(1, "one and the same question", sampling=likeliest))
    other = driver.ask(asks(2, "one and the same question", sampling=likeliest))
    done = again.wait()
    assert done.usage.cached_tokens == done.usage.prompt_tokens - 1
    assert raw(again) == raw(first)
    assert raw(other) == expected(reference, 2, "one and the same question")


def test_seeds_repeat_and_choices_differ(driver: Driver) -> None:
    rules = wire.Sampling(max_tokens=8, temperature=1.0, seed=3, ignore_eos=True)
    one, two = (driver.ask(asks(0, "x", sampling=rules, n=2)) for _ in range(2))
    texts = [[d.text for d in answer.of(wire.Delta) if d.index == 0] for answer in (one, two)]
    others = [d.text for d in one.of(wire.Delta) if d.index == 1]
    assert texts[0] == texts[1] != others


def test_a_penalty_knows_words_only(driver: Driver) -> None:
    rules = wire.Sampling(max_tokens=4, temperature=0, repetition_penalty=1.3)
    assert isinstance(driver.ask(asks(0, "x", sampling=rules)).wait(), wire.Done)


def test_the_image_token_in_a_users_text_is_text(driver: Driver) -> None:
    done = driver.ask(asks("<image>", 0)).wait()
    assert isinstance(done, wire.Done)
    assert done.usage.prompt_tokens > driver.ask(asks(0)).wait().usage.prompt_tokens


def test_a_damaged_image_is_its_own_requests_fault(driver: Driver) -> None:
    good = driver.start(asks(0, "x"))
    parts: list[str | wire.Image] = [wire.Image(FILES[0][:60])]
    bad = wire.ChatPrompt(messages=[wire.ChatMessage("user", "", parts=parts)])
    failure = driver.failure(wire.Generate(prompt=bad))
    assert (failure.code, failure.param) == ("invalid_media", "messages")
    assert isinstance(good.wait(), wire.Done)


def test_a_cancelled_request_ends_at_once(driver: Driver) -> None:
    endless = wire.Sampling(max_tokens=600, temperature=0, ignore_eos=True)
    answer = driver.start(asks(0, "x", sampling=endless))
    answer.wait_for(lambda: answer.frames)
    driver.engine.cancel(answer.stream)
    assert answer.wait().usage.completion_tokens < 600


def test_image_tokens_count_before_anything_is_computed(folder: Path) -> None:
    driver = Driver(VlmTransformers(), spec(folder, context_tokens=40))
    before = driver.engine.stats().prompt_tokens_total
    failure = driver.failure(asks(0, 1, 2))
    assert (failure.code, failure.param) == ("context_length_exceeded", "messages")
    assert driver.engine.stats().prompt_tokens_total == before
    driver.engine.close()


# --- one kind is enough ---------------------------------------------------------------------------


def test_it_says_what_it_can_do(tmp_path: Path) -> None:
    driver = Driver(VlmTransformers(), spec(tiny_vision.make(tmp_path, "llava")))
    assert driver.loaded.capabilities == ["chat", "completions", "images"]
    driver.engine.close()
    assert driver.failure(asks(0)).code == "engine_failed"


@pytest.mark.parametrize("template", [small_tokenizers.CHATML, None])
def test_a_template_that_takes_text_gets_images_in_it(tmp_path: Path, template: str | None) -> None:
    folder = tiny_vision.make(tmp_path, "llava", template)
    driver, reference = Driver(VlmTransformers(), spec(folder)), tiny_vision.Reference(folder)
    answer = driver.ask(asks(0, "a"))
    text = TEXT.format("<image>\na") if template else "User: <image>\na\nAssistant:"
    _prompt, tokens = reference.greedy(text, FILES[:1], 12)
    vocabulary = tiny_vision.vocabulary()
    assert raw(answer) == [vocabulary.token_text(token)[1] for token in tokens]
    driver.engine.close()


def test_a_template_without_a_place_for_images_is_named(tmp_path: Path) -> None:
    deaf = "{% for m in messages %}{{ m['role'] }}{% endfor %}"
    driver = Driver(VlmTransformers(), spec(tiny_vision.make(tmp_path, "llava", deaf)))
    assert driver.failure(asks(0)).code == "invalid_request"
    driver.engine.close()


def test_a_text_model_refuses_images(tmp_path: Path) -> None:
    driver = Driver(LlmTransformers(), spec(tiny_models.make(tmp_path, "llama")))
    failure = driver.failure(asks(0))
    assert (failure.code, failure.param) == ("unsupported_parameter", "messages[0].content")
    driver.engine.close()


@pytest.mark.parametrize("kind", tiny_vision.UNSERVED)
def test_a_model_that_sees_in_another_way_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(LoadFailed, match=f"type {kind} look at an image in both directions"):
        Driver(VlmTransformers(), spec(tiny_vision.make(tmp_path, kind)))


def test_an_image_whose_tokens_see_each_other_is_not_computed_in_two_pieces(tmp_path: Path) -> None:
    reference = tiny_vision.Reference(tiny_vision.make(tmp_path, "gemma3"))
    decoder = VisionDecoder(reference.model)
    inputs = reference.inputs(str(reference.processor.image_token), FILES[:1])
    assert decoder.whole_images
    decoder.check_image(inputs)
    decoder.whole_images = False
    with pytest.raises(LoadFailed, match="place or attend to images in a way"):
        decoder.check_image(inputs)


def test_an_image_that_comes_out_differently_is_noticed(tmp_path: Path) -> None:
    reference = tiny_vision.Reference(tiny_vision.make(tmp_path, "llava"))
    inputs = reference.inputs("<image>", FILES[:1])
    decoder = VisionDecoder(reference.model)
    decoder.check_image(inputs)
    reference.model.model.multi_modal_projector.register_forward_hook(
        lambda _module, _given, found: found + torch.randn_like(found)
    )
    with pytest.raises(LoadFailed, match="place or attend to images in a way"):
        decoder.check_image(inputs)


def test_a_folder_without_a_processor_is_refused(tmp_path: Path) -> None:
    folder = tiny_vision.make(tmp_path, "llava")
    (folder / "processor_config.json").unlink()
    with pytest.raises(LoadFailed, match="processor"):
        Driver(VlmTransformers(), spec(folder))
