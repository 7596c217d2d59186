"""What a client may ask of a fine-tuning job, and what it is told of the rest."""

from typing import Any

import pytest

from inference.errors import HubError
from inference.openai import fine_tuning

ASKED = {"model": "base", "training_file": "file-1"}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"hyperparameters": {"n_epoch": 1}}, "hyperparameters.n_epoch"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"method": {"type": "reinforcement"}}, "method.type"),
        ({"integrations": [{"type": "wandb"}]}, "integrations"),
        ({"seed": -1}, "seed"),
        ({"owner": "root"}, "owner"),
    ],
)
def test_it_names_what_it_does_not_know(more: dict[str, Any], param: str) -> None:
    with pytest.raises(HubError) as refused:
        fine_tuning.create({**ASKED, **more})
    assert refused.value.param == param


def test_it_takes_one_way_to_say_how() -> None:
    both = {"hyperparameters": {}, "method": {"type": "dpo"}}
    with pytest.raises(HubError, match="not both"):
        fine_tuning.asked(fine_tuning.create({**ASKED, **both}))
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": "auto"}}}
    found = fine_tuning.asked(fine_tuning.create({**ASKED, "method": method}))
    assert found.training_type == "dpo"
    assert found.config == {"beta": 0.2, "n_epochs": "auto"}


@pytest.mark.parametrize("limit", ["9" * 5000, "101", "0", "-1", "x", ""])
def test_it_refuses_a_limit_out_of_range(limit: str) -> None:
    with pytest.raises(HubError) as refused:
        fine_tuning.query({"limit": limit})
    assert refused.value.param == "limit"


def test_it_selects_by_metadata() -> None:
    both, one, none = {"team": "a", "run": ""}, {"team": "a"}, dict[str, str]()
    for raw, selected in (
        ({}, [both, one, none]),
        ({"metadata[team]": "a"}, [both, one]),
        ({"metadata[team]": "a", "metadata[run]": ""}, [both]),
        ({"metadata[0]": "a"}, []),
        ({"metadata": "null"}, [none]),
    ):
        wanted = fine_tuning.query(raw)
        assert [given for given in (both, one, none) if wanted.selects(given)] == selected


@pytest.mark.parametrize(
    "raw", [{"metadata": "a"}, {"metadata": "null", "metadata[a]": "b"}, {"metadata[a]": "x" * 600}]
)
def test_it_refuses_another_form_of_metadata(raw: dict[str, str]) -> None:
    with pytest.raises(HubError) as refused:
        fine_tuning.query(raw)
    assert refused.value.param
    assert refused.value.param.startswith("metadata")
