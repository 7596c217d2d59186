"""From what was asked and the data at hand to a recipe, with what it takes. Called by `jobs` and `plans`."""

import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings

from inference import sizes
from inference.errors import DiskFull, InvalidValue, NodeUnavailable
from training import bases, claims, room, shelf
from training.datasets.report import Lengths
from training.models import DataSetVersion, Export, Job
from training.recipes import facts, memory, resolve, shapes
from training.recipes.recipe import Recipe

LONGEST_UNSAID = 1024  # tokens of a row, where nobody said how long it may be
TEMPLATE_TOKENS = 64  # that a template may add to a row
CHARACTERS_PER_TOKEN = 3
BY_BYTES = "no row is longer: its bytes count, as the data was checked without this base"
UNCOUNTED = (
    "the usual bound; longer rows are cut, and a check of the data with this base counts them"
)
LEAST = facts.Rows(rows=1, tokens=8, longest_tokens=8, supervised_tokens=1)


@dataclass(frozen=True, slots=True)
class Found:
    """`rows` are as they probably are; `need` is counted with them."""

    resolved: resolve.Resolved
    base: facts.Base
    rows: facts.Rows
    machine: facts.Machine
    need: memory.Need
    disk_bytes: int

    @property
    def fits(self) -> bool:
        limit = self.machine.memory_bytes
        return limit is None or self.need.total <= limit

    def changes(self) -> list[dict[str, Any]]:
        """Give changes of the recipe with which it would fit, the gentlest first."""
        return resolve.changes_that_fit(self.resolved.recipe, self.base, self.rows, self.machine)


def defaults() -> dict[str, Any]:
    """Give what `training_config` of config/hub.json says, in a recipe's names."""
    said = msgspec.to_builtins(settings.HUB_CONFIG.training_config)
    return shapes.defaults_of({name: value for name, value in said.items() if value is not None})


def machine_now() -> facts.Machine:
    """Give what the node lends at most; without a node, a machine that nothing is known of."""
    try:
        return claims.machine()
    except NodeUnavailable:
        return facts.Machine(device="cuda" if settings.HUB_DEVICE == "cuda" else "cpu")


def read_base(folder: Path) -> facts.Base:
    """Raises: InvalidValue, where its files went away or are not whole."""
    try:
        return facts.read_base(folder)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidValue(f"The base cannot be read: {why}.", param="base") from error


def at_least(asked: shapes.Asked, folder: Path, machine: facts.Machine, where: str) -> Found:
    """Resolve before the data is known, as if it were next to nothing. Raises: InvalidValue."""
    return _found(asked, read_base(folder), LEAST, LEAST, machine, where)


def of_version(
    asked: shapes.Asked,
    folder: Path,
    version: DataSetVersion,
    machine: facts.Machine,
    where: str = "training_config",
) -> Found:
    """Resolve for data that has been checked. Raises: InvalidValue."""
    base = read_base(folder)
    surely, probably = _rows(version, base)
    return _found(asked, base, surely, probably, machine, where)


def _found(
    asked: shapes.Asked,
    base: facts.Base,
    surely: facts.Rows,
    probably: facts.Rows,
    machine: facts.Machine,
    where: str,
) -> Found:
    """`surely` decides how long rows may be, so that none is cut; `probably` what they take."""
    resolved = resolve.resolve(asked, base, surely, machine, defaults(), where)
    longest = min(probably.longest_tokens, resolved.recipe.max_length)
    learned = max(1, longest * probably.supervised_tokens // max(probably.tokens, 1))
    need = memory.need(base, resolved.recipe, longest, learned, machine)
    disk_bytes = memory.disk_bytes(base, resolved.recipe)
    return Found(resolved, base, probably, machine, need, disk_bytes)


def _rows(version: DataSetVersion, base: facts.Base) -> tuple[facts.Rows, facts.Rows]:
    """Count them as the check did, or else by their bytes: no token is shorter than one."""
    report = shelf.report(version.pk)
    if report is not None and report.lengths is not None:
        rows = _measured(version.train_rows, report.lengths)
        return rows, rows
    most, longest = min(base.context_tokens, LONGEST_UNSAID), 0
    with contextlib.suppress(FileNotFoundError):
        longest = _longest_bytes(version.train_path())
    tokens = max(1, version.characters // CHARACTERS_PER_TOKEN)
    surely = facts.Rows(
        rows=version.train_rows,
        tokens=tokens,
        longest_tokens=min(most, longest + TEMPLATE_TOKENS),
        supervised_tokens=max(1, tokens // 2),
        longest_why=BY_BYTES if longest + TEMPLATE_TOKENS <= most else UNCOUNTED,
    )
    likely = min(most, longest // CHARACTERS_PER_TOKEN + TEMPLATE_TOKENS)
    return surely, msgspec.structs.replace(surely, longest_tokens=likely)


def _measured(train_rows: int, known: Lengths) -> facts.Rows:
    """Of all rows that were measured only a part is trained on, with as many tokens as its share."""
    return facts.Rows(
        rows=train_rows,
        tokens=known.total * train_rows // known.rows,
        longest_tokens=known.longest,
        supervised_tokens=known.supervised * train_rows // known.rows,
    )


def longest_bytes(version: DataSetVersion) -> int:
    """Bound the tokens of its longest row, whatever the vocabulary; 0 where its file has gone."""
    try:
        return _longest_bytes(version.train_path()) + TEMPLATE_TOKENS
    except FileNotFoundError:
        return 0


@functools.lru_cache(maxsize=1024)
def _longest_bytes(file: Path) -> int:
    """Of a row. A version's file never changes, and may be large: it is read once."""
    with file.open("rb") as lines:
        return max(map(len, lines), default=0)


def refuse_too_large(found: Found, where: str = "training_config") -> None:
    """Raises: InvalidValue, with what would fit; DiskFull."""
    if not found.fits:
        offers = found.changes()
        hint = (
            f"with {_said(offers[0]['change'])} it would fit" if offers else "choose a smaller base"
        )
        words = (
            f"The training needs {sizes.text(found.need.total)} of memory, and the node lends"
            f" {sizes.text(found.machine.memory_bytes or 0)} at most: {hint}."
        )
        raise InvalidValue(words, param=where)
    free = free_disk()
    if found.disk_bytes > free:
        raise DiskFull(
            f"checkpoints and result take {sizes.text(found.disk_bytes)}, and the disk of the data folder"
            f" has {sizes.text(free)} left; free some, or keep fewer with keep_checkpoints"
        )


def free_disk() -> int:
    """Without what is promised to trainings and exports under way."""
    return max(0, room.free_bytes())


def most_bytes(job: Job) -> int:
    """Give what it will write at most: kept checkpoints, result, and the exports that were asked for with it.

    Raises: ModelNotFound, InvalidValue.
    """
    folder = bases.find(job.base)[1]
    base, recipe = read_base(folder), recipe_of(job)
    forms = sum(export_bytes(kind, folder, base, recipe) for kind in job.exports)
    return memory.disk_bytes(base, recipe) + forms


def export_bytes(kind: str, folder: Path, base: facts.Base, recipe: Recipe) -> int:
    """A merged model is as large as its base, a GGUF file has two bytes for each parameter."""
    if kind == Export.Kind.ADAPTER and recipe.adapts:
        return 4 * memory.adapter_parameters(base, recipe)
    return 2 * base.parameters if kind == Export.Kind.GGUF else room.bytes_in(folder.resolve())


def recipe_of(job: Job) -> Recipe:
    """Raises: InvalidValue, where what was kept is none any more."""
    try:
        return msgspec.convert(job.recipe, Recipe)
    except msgspec.ValidationError as error:
        raise InvalidValue(f"Its recipe cannot be read: {error}. Submit it anew.") from error


def _said(change: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in change.items())
