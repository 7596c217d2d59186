"""The loss over learned positions alone is the loss: of any model, padded, packed, and over ranks."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from transformers import AutoModelForCausalLM

from tests.inference.engines import tiny_models
from training.run import batches, loss, packing
from training.run.rendering import IGNORED, Example

KINDS = ("llama", "gemma2", "qwen3", "gpt2", "mixtral", "phi3")


def _model(kind: str, folder: Path) -> Any:
    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(tiny_models.make(folder, kind), dtype=torch.float32)
    return model.eval()


def _examples(seed: int = 1, count: int = 5) -> list[Example]:
    chance = torch.Generator().manual_seed(seed)
    made = []
    for at in range(count):
        ids = torch.randint(3, 200, (6 + 3 * at,), generator=chance).tolist()
        labels = [IGNORED if place < 3 + at else token for place, token in enumerate(ids)]
        made.append(Example(ids, labels))
    return made


def _plain(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """From all logits, as everybody computes it."""
    given = {name: batch[name] for name in loss.GIVEN if name in batch}
    logits = model(**given, use_cache=False).logits[:, :-1].float()
    targets = batch["labels"][:, 1:]
    return F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]),
        targets.reshape(-1),
        ignore_index=IGNORED,
        reduction="sum",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_it_equals_the_plain_loss_and_its_gradient(kind: str, tmp_path: Path) -> None:
    model = _model(kind, tmp_path)
    batch = batches.collate(list(enumerate(_examples())), 0)
    plain = _plain(model, batch)
    plain.backward()  # type: ignore[no-untyped-call]
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    found = loss.summed(loss.Head(model), model, batch)
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() == pytest.approx(plain.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "qwen3", "phi3"])
def test_packed_rows_have_the_loss_of_single_ones(kind: str, tmp_path: Path) -> None:
    model = _model(kind, tmp_path)
    head = loss.Head(model)
    examples = _examples()
    single = sum(
        loss.summed(head, model, batches.collate([(0, example)], 0)).item() for example in examples
    )
    packs = packing.pack(examples, 32)
    assert len(packs) < len(examples)
    assert sum(pack.supervised for pack in packs) == sum(e.supervised for e in examples)
    packed = loss.summed(head, model, batches.collate(list(enumerate(packs)), 0)).item()
    assert packed == pytest.approx(single, rel=1e-4)
    assert packing.is_exact(model, torch.device("cpu"))


def test_a_model_that_mixes_packed_rows_is_found_out(tmp_path: Path) -> None:
    """Bloom takes no positions."""
    assert not packing.is_exact(_model("bloom", tmp_path), torch.device("cpu"))


def test_a_row_that_only_fills_up_a_batch_teaches_nothing(tmp_path: Path) -> None:
    model = _model("llama", tmp_path)
    batch = batches.collate_or_fill([(-1, _examples()[0])], 0)
    found = loss.summed(loss.Head(model), model, batch)
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() == 0
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("grouped", [False, True])
def test_every_row_comes_once_in_an_epoch_over_all_ranks(world: int, grouped: bool) -> None:
    lengths = [3 + at % 7 for at in range(23)]
    made = [batches.Batches(lengths, 2, 5, grouped, rank, world) for rank in range(world)]
    for epoch in range(2):
        for own in made:
            own.set_epoch(epoch)
        ranks = [list(own) for own in made]
        assert {len(own) for own in ranks} == {len(made[0])}
        seen = [at for own in ranks for batch in own for at in batch if at >= 0]
        assert sorted(seen) == list(range(23))


def test_rows_of_like_length_go_together() -> None:
    lengths = [10, 500] * 40
    grouped = batches.Batches(lengths, 4, 1, grouped=True)
    padded = sum(len(batch) * max(lengths[at] for at in batch) for batch in grouped)
    assert padded == sum(lengths)


def test_dpo_is_the_papers_formula() -> None:
    policy, reference = (
        torch.tensor([-1.0, -4.0, -2.0, -3.0]),
        torch.tensor([-2.0, -3.0, -1.0, -3.0]),
    )
    losses, shown = loss.preference(policy, reference, 0.5)
    margins = 0.5 * torch.tensor([(1.0) - (-1.0), (-1.0) - 0.0])
    torch.testing.assert_close(losses, -F.logsigmoid(margins))
    assert shown["rewards_accuracy"].tolist() == [1.0, 0.0]
