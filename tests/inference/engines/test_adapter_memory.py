"""What attached adapters may hold: who leaves for whom, and what is given back."""

from pathlib import Path

import msgspec
import torch

from inference import wire
from inference.engines.adapters import AdapterStore
from inference.engines.kv_memory import KvMemory
from inference.engines.lora import LoraFile

from .driving import Driver
from .generating import (
    LIKELIEST,
    ask_tokens,
    asks,
    decoder_of,
    drive,
    some_tokens,
    text_of,
    usage_of,
)


def store_of(driver: Driver) -> AdapterStore:
    store = driver.engine._adapters  # type: ignore[attr-defined]
    assert isinstance(store, AdapterStore)
    return store


def test_the_least_recently_used_leaves_and_comes_back(llama: Path, tuned: wire.Adapter) -> None:
    driver = drive(llama)
    try:
        store = store_of(driver)
        own = [msgspec.structs.replace(tuned, name=name) for name in "abc"]
        said = text_of(driver.ask(asks([3, 4], 5, own[0])))
        store.limit_bytes = 2 * store.nbytes
        for adapter in (own[1], own[0], own[2]):
            driver.ask(asks([3, 4], 5, adapter))
        assert store.names() == ["a", "c"]
        assert store.nbytes == store.limit_bytes
        assert driver.engine.stats().kv_bytes >= store.nbytes
        assert text_of(driver.ask(asks([3, 4], 5, own[1]))) == said
        assert store.names() == ["c", "b"]
    finally:
        driver.engine.close()


def test_an_adapter_that_is_no_more_gives_its_memory_back(llama: Path, tuned: wire.Adapter) -> None:
    """What it kept of conversations leaves with it; the base's own stays."""
    driver = drive(llama)
    try:
        store, memory = store_of(driver), driver.engine._memory  # type: ignore[attr-defined]
        newer = msgspec.structs.replace(tuned, version="v2")
        prompt = some_tokens(40, seed=2)
        for own in (None, tuned, newer):
            body = ask_tokens(prompt, 4, **LIKELIEST)
            driver.ask(msgspec.structs.replace(body, adapter=own))
        plain = memory.nbytes
        driver.engine.detach("another")
        assert store.names() == ["tuned", "tuned"]
        held = store.nbytes
        driver.engine.detach("tuned")
        assert (store.names(), store.nbytes, driver.engine.stats().adapters_bytes) == ([], 0, 0)
        assert held > 0
        body = ask_tokens(prompt, 4, **LIKELIEST)
        of_base, of_adapter = (
            usage_of(driver.ask(msgspec.structs.replace(body, adapter=own))).cached_tokens
            for own in (None, tuned)
        )
        assert of_base > of_adapter == 0
        assert memory.nbytes < plain
    finally:
        driver.engine.close()


def test_who_answers_with_an_adapter_that_is_no_more_answers_to_the_end(
    llama: Path, tuned: wire.Adapter
) -> None:
    driver = drive(llama)
    try:
        store = store_of(driver)
        answering = driver.start(asks([3, 4], 400, tuned))
        answering.wait_for(lambda: answering.of(wire.Delta))
        driver.engine.detach("tuned")
        assert usage_of(answering).completion_tokens == 400
        assert (store.names(), store.nbytes) == ([], 0)
        leased = store.lease(tuned)
        driver.engine.detach("tuned")
        assert store.lease(tuned) is leased
        store.give_back(leased)
        store.give_back(leased)
        assert store.names() == ["tuned"], "asked for again before it left"
    finally:
        driver.engine.close()


def test_who_is_answering_keeps_its_adapter(llama: Path, tuned: wire.Adapter) -> None:
    driver = drive(llama)
    try:
        other = msgspec.structs.replace(tuned, name="other")
        driver.ask(asks([3, 4], 5, tuned))
        store_of(driver).limit_bytes = store_of(driver).nbytes
        answering = store_of(driver).lease(tuned)
        failure = driver.failure(asks([3, 4], 5, other))
        assert failure.code == "service_unavailable"
        assert failure.retry_after_s
        store_of(driver).give_back(answering)
        assert usage_of(driver.ask(asks([3, 4], 5, other))).completion_tokens == 5
        store_of(driver).limit_bytes = 100
        failure = driver.failure(asks([3, 4], 5, tuned))
        assert (failure.code, "100 bytes" in failure.message) == ("insufficient_memory", True)
    finally:
        driver.engine.close()


def test_it_takes_no_memory_that_running_answers_hold(llama: Path, tuned: wire.Adapter) -> None:
    """Kept prefixes give way to it; rows of running answers do not."""
    driver = drive(llama)
    try:
        memory: KvMemory = driver.engine._memory  # type: ignore[attr-defined]
        for seed in range(6):
            driver.ask(ask_tokens(some_tokens(60, seed=seed), 3, **LIKELIEST))
        size = LoraFile(tuned, decoder_of(driver).place, torch.float32).nbytes
        kept = memory.nbytes
        memory.limit(kept + size // 2, kept)
        assert usage_of(driver.ask(asks([3, 4], 3, tuned))).completion_tokens == 3
        assert memory.nbytes <= kept + size // 2
        memory.limit(store_of(driver).nbytes + size // 2, kept)
        answering = store_of(driver).lease(tuned)
        other = msgspec.structs.replace(tuned, name="other")
        assert driver.failure(asks([3, 4], 3, other)).code == "service_unavailable"
        store_of(driver).give_back(answering)
        memory.limit(2**30, kept)
        assert usage_of(driver.ask(asks([3, 4], 3, other))).completion_tokens == 3
    finally:
        driver.engine.close()
