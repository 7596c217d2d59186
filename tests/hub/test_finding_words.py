"""What is wrong with data, and what happens to a training, in the visitor's language."""

from pathlib import Path

import pytest
from django.utils import translation

from hub.dashboard import event_words, finding_words
from tests.training.datasets.test_seeded_defects import written
from training import states
from training.datasets import texts, validation
from training.models import Job, JobEvent

MORE = [
    "validation: The row is in the training data too, as row 7.",
    "No known format has these fields: a, b.",
    "Only 3 rows can be learned.",
    "The row has 3 cells, the first line 2 names.",
    "12 tokens lie behind max_length 64.",
    "The answer lies behind max_length; 12 tokens are too many.",
    "messages[1]: the template hides where this turn lies",
    "the chat template refuses this row: roles must take turns",
    "The file has no rows.",
    *(f"text holds what looks like {name}." for name in texts.SECRETS),
]
EVENTS = {
    "Created fine-tuning job: ftjob-1": "Created training ftjob-1.",
    "Step 12: validation loss=0.4312": "Step 12: validation loss 0.4312.",
    "Exported as gguf.": "Exported as gguf.",
    "3 of 40 rows left out, the first in line 9": "3 of 40 rows were left out, the first in line 9.",
    "It gave its memory back, and goes on when there is room: waits for its turn.": "It gave its "
    "memory back, and goes on when there is room: waits for its turn.",
    "It was paused by a person.": "It was paused by a person.",
    "The training process ended 3 times without progress.": "The training process ended 3 times "
    "without progress.",
}


@pytest.fixture(scope="module", name="seeded")
def _seeded(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Give every message that the check writes of the forty seeded defects."""
    folder = tmp_path_factory.mktemp("seeded")
    file, _places = written(folder)
    options = validation.Options(file=file, name=file.name, output=folder / "out")
    return [finding.message for finding in validation.run(options).findings]


def test_it_says_every_finding_in_both_languages(seeded: list[str]) -> None:
    assert len(seeded) >= 40
    for message in [*seeded, *MORE]:
        with translation.override("en"):
            assert finding_words.words(message) == message
        with translation.override("vi"):
            assert finding_words.words(message) != message


@pytest.mark.parametrize("message", EVENTS)
def test_it_says_every_event_in_both_languages(message: str) -> None:
    with translation.override("en"):
        assert event_words.words(message) == EVENTS[message]
    with translation.override("vi"):
        assert event_words.words(message) not in {message, EVENTS[message]}


def test_a_change_of_state_is_told_with_its_reason() -> None:
    data = {"state": str(Job.State.QUEUED), "reason": "Its worker ended; it goes on."}
    event = JobEvent(type="state", message="The job is queued. Its worker ended.", data=data)
    with translation.override("vi"):
        assert event_words.event_text(event).endswith("nó tiếp tục.")


@pytest.mark.django_db
def test_every_state_has_its_sentence() -> None:
    assert set(states.SENTENCES) == set(Job.State)
    done = Job(state=Job.State.SUCCEEDED)
    assert states.refusal(done, "what for.") == "The job has succeeded: what for."


def test_what_nobody_knows_stays_as_it_is(tmp_path: Path) -> None:
    with translation.override("vi"):
        for text in ("CUDA error: 100 % sure", f"{tmp_path} is torn"):
            assert finding_words.words(text) == event_words.words(text) == text
