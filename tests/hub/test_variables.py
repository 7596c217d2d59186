"""AI_HUB_* variables are read with their types, from files too, and mistakes are named."""

from pathlib import Path

import pytest

from hub import env


@pytest.fixture(autouse=True)
def problems(monkeypatch: pytest.MonkeyPatch) -> list[env.Problem]:
    """Mistakes of one test are not the next one's."""
    found: list[env.Problem] = []
    monkeypatch.setattr(env, "problems", found)
    return found


@pytest.fixture(autouse=True)
def in_effect(monkeypatch: pytest.MonkeyPatch) -> dict[str, env.Setting]:
    found: dict[str, env.Setting] = {}
    monkeypatch.setattr(env, "in_effect", found)
    return found


def test_it_prefers_nothing_to_an_empty_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_HUB_PORT", "")
    assert env.integer("PORT", 8000, low=1, high=65535) == 8000


def test_it_reads_a_file_without_its_last_newline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text("postgres://user:pass@db/hub\n")
    monkeypatch.setenv("AI_HUB_DATABASE_URL_FILE", str(tmp_path / "url"))
    found = env.url("DATABASE_URL", "", ("postgres",))
    assert found == "postgres://user:pass@db/hub"


def test_it_refuses_a_value_and_a_file_together(
    monkeypatch: pytest.MonkeyPatch, problems: list[env.Problem]
) -> None:
    monkeypatch.setenv("AI_HUB_HOST", "127.0.0.1")
    monkeypatch.setenv("AI_HUB_HOST_FILE", "/nowhere")
    env.text("HOST")
    assert "AI_HUB_HOST_FILE" in problems[0].message


def test_it_names_a_file_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, problems: list[env.Problem]
) -> None:
    monkeypatch.setenv("AI_HUB_HOST_FILE", str(tmp_path / "gone"))
    assert env.text("HOST", "127.0.0.1") == "127.0.0.1"
    assert str(problems[0]).startswith("AI_HUB_HOST_FILE: cannot be read")


@pytest.mark.parametrize("value", ["x", "0", "65536", "8000.5", "-1"])
def test_it_refuses_a_port_that_is_none(
    monkeypatch: pytest.MonkeyPatch, problems: list[env.Problem], value: str
) -> None:
    monkeypatch.setenv("AI_HUB_PORT", value)
    assert env.integer("PORT", 8000, low=1, high=65535) == 8000
    assert value in str(problems[0])


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [
        ("800", 800),
        ("800M", 800 * 10**6),
        ("1.5GiB", 3 * 2**29),
        ("24Gi", 24 * 2**30),
        ("2 gb", 2 * 10**9),
    ],
)
def test_it_reads_sizes(monkeypatch: pytest.MonkeyPatch, value: str, size_bytes: int) -> None:
    monkeypatch.setenv("AI_HUB_MEMORY_LIMIT", value)
    assert env.byte_size("MEMORY_LIMIT") == size_bytes


@pytest.mark.parametrize("value", ["24", "1K", "63M", "-1", "24X", "G"])
def test_it_refuses_a_size_that_lacks_its_unit(
    monkeypatch: pytest.MonkeyPatch, problems: list[env.Problem], value: str
) -> None:
    monkeypatch.setenv("AI_HUB_MEMORY_LIMIT", value)
    assert env.byte_size("MEMORY_LIMIT", low=64 * 10**6) == 0
    assert "at least 64M (a bare number counts bytes)" in str(problems[0])
    assert repr(value) in str(problems[0])


def test_it_never_shows_a_secret(
    monkeypatch: pytest.MonkeyPatch, problems: list[env.Problem]
) -> None:
    monkeypatch.setenv("AI_HUB_SECRET_KEY", "hunter2")
    monkeypatch.setenv("AI_HUB_REDIS_URL", "http://user:hunter2@redis")
    assert env.secret("SECRET_KEY") is None
    env.url("REDIS_URL", "", ("redis",))
    assert len(problems) == 2
    assert "hunter2" not in str(problems)


def test_it_takes_words_in_any_case_and_no_others(
    monkeypatch: pytest.MonkeyPatch, problems: list[env.Problem]
) -> None:
    monkeypatch.setenv("AI_HUB_DEVICE", "CUDA")
    assert env.choice("DEVICE", "auto", ("auto", "cpu", "cuda")) == "cuda"
    monkeypatch.setenv("AI_HUB_DEVICE", "tpu")
    assert env.choice("DEVICE", "auto", ("auto", "cpu", "cuda")) == "auto"
    assert "auto, cpu, cuda" in problems[0].message


def test_it_remembers_what_is_in_effect_and_who_said_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_effect: dict[str, env.Setting]
) -> None:
    (tmp_path / "host").write_text("hub.local")
    monkeypatch.setenv("AI_HUB_HOST_FILE", str(tmp_path / "host"))
    monkeypatch.setenv("AI_HUB_MEMORY_LIMIT", "1K")
    env.text("HOST"), env.byte_size("MEMORY_LIMIT"), env.names("TRUSTED_PROXIES", ["a", "b"])
    assert in_effect["AI_HUB_HOST"] == env.Setting("AI_HUB_HOST", "hub.local", "file")
    assert in_effect["AI_HUB_MEMORY_LIMIT"] == env.Setting(
        "AI_HUB_MEMORY_LIMIT", "1,000 bytes", "variable"
    )
    assert in_effect["AI_HUB_TRUSTED_PROXIES"] == env.Setting(
        "AI_HUB_TRUSTED_PROXIES", "a, b", "default"
    )


@pytest.mark.parametrize(
    "address",
    [
        "redis://user:hunter2@redis/0",
        "redis://:hun@ter2@redis/0",
        "redis://:hunter2?x@redis/0?a=hunter2",
    ],
)
def test_what_is_in_effect_holds_no_secret(
    monkeypatch: pytest.MonkeyPatch, address: str, in_effect: dict[str, env.Setting]
) -> None:
    monkeypatch.setenv("AI_HUB_REDIS_URL", address)
    monkeypatch.setenv("AI_HUB_SECRET_KEY", "hunter2" * 8)
    env.url("REDIS_URL", "", ("redis",)), env.secret("SECRET_KEY")
    assert in_effect["AI_HUB_REDIS_URL"].value == "redis://redis/0"
    assert "ter2" not in str(in_effect)
