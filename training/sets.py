"""What is done to data sets: made of files, given versions, withdrawn and removed. The row is the truth.

Jobs call `ensure`. The check itself is `ingest`'s, asked for once the row is there.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

from django.db import IntegrityError, transaction
from django.db.models import Max

from accounts import audit, quotas
from accounts.models import Visibility, default_team_id
from accounts.principals import Principal
from inference.errors import Conflict, InvalidValue, NotFound, PermissionDenied
from training import bases, files, shelf, tasks
from training.models import DataSet, DataSets, DataSetVersion, File

SCOPE = "datasets:write"
LONGEST_NAME = 128
LONGEST_ROW_TOKENS = 131_072
LARGEST_SHARE = 0.5
State = DataSetVersion.State

# Asked before a version goes: each gives a sentence that says what still needs it, or "".
USERS: list[Callable[[DataSetVersion], str]] = []


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of what a version is made, and how: `held_out` is the share of rows for validation."""

    file_id: str
    validation_file_id: str = ""
    held_out: float = 0.0
    leaves_out: bool = False
    base: str = ""
    max_length: int = 2_048


@dataclass(frozen=True, slots=True)
class Source:
    """What was wanted, with the files it names."""

    wanted: Wanted
    file: File
    held: File | None

    @property
    def size_bytes(self) -> int:
        return self.file.size_bytes + (self.held.size_bytes if self.held else 0)

    @property
    def address(self) -> str:
        """Digest all that decides what a version holds."""
        wanted = self.wanted
        parts = (
            self.file.sha256,
            self.held.sha256 if self.held else "",
            f"{wanted.held_out:.4f}",
            str(wanted.leaves_out),
            wanted.base,
            str(wanted.max_length) if wanted.base else "",
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def create(
    who: Principal,
    name: str,
    wanted: Wanted,
    *,
    description: str = "",
    visibility: str = Visibility.TEAM,
) -> DataSetVersion:
    """Make a data set with its first version. Raises: Conflict, as `add_version`."""
    _check_name(name)
    team = who.team_id or default_team_id()
    _check_held(who, team)
    with transaction.atomic():
        if DataSet.objects.filter(team_id=team, name=name).exists():
            raise Conflict(f"Your team has a data set `{name}`: add a version to it.", param="name")
        data_set = DataSet.objects.create(
            name=name,
            description=description,
            owner_id=who.user_id,
            team_id=team,
            visibility=visibility,
        )
        after = {"name": name, "visibility": visibility}
        audit.record("dataset.add", "dataset", name, pk=data_set.pk, after=after)
        return add_version(who, data_set, wanted)


def add_version(who: Principal, data_set: DataSet, wanted: Wanted) -> DataSetVersion:
    """Give the version made of just this, now or before.

    Raises: InvalidValue, NotFound, ModelNotFound, PermissionDenied.
    """
    _check_held(who, data_set.ownership[0])
    source = _source(who, _checked(wanted, who))
    return _known(data_set, source) or _added(who, data_set, source)


def ensure(file_id: str, who: Principal, validation_file_id: str = "") -> DataSetVersion:
    """Give the version of an uploaded file, the same for the same content in a team.

    Raises: NotFound, InvalidValue, RateLimited.
    """
    source = _source(who, Wanted(file_id, validation_file_id))
    name = f"{source.file.filename[: LONGEST_NAME - 14]} {source.address[:12]}"
    data_set = _of_files(who, name)
    known = _known(data_set, source)
    if known is None:
        return _added(who, data_set, source)
    if known.state == State.WITHDRAWN:
        words = f"This content was withdrawn from training: version {known.number} of `{name}`."
        raise InvalidValue(words, param="training_file")
    return _again(known, source) if known.state == State.FAILED else known


def _of_files(who: Principal, name: str) -> DataSet:
    """A data set that nobody named: two who ask at once are given the same."""
    with transaction.atomic():
        data_set, is_new = DataSet.objects.get_or_create(
            team_id=who.team_id or default_team_id(), name=name, defaults={"owner_id": who.user_id}
        )
        if is_new:
            audit.record("dataset.add", "dataset", name, pk=data_set.pk, after={"name": name})
    return data_set


def _again(version: DataSetVersion, source: Source) -> DataSetVersion:
    """Check once more what the hub, not the data, failed at; its files may have come anew."""
    rows = DataSetVersion.objects.filter(pk=version.pk, state=State.FAILED)
    files_now = {name: getattr(source.wanted, name) for name in ("file_id", "validation_file_id")}
    if rows.update(state=State.WAITING, reason="", attempts=0, ended_at=None, **files_now):
        transaction.on_commit(partial(tasks.enqueue_validation, version.pk))
    version.refresh_from_db()
    return version


def _known(data_set: DataSet, source: Source) -> DataSetVersion | None:
    return data_set.versions.filter(address=source.address).first()


def _added(who: Principal, data_set: DataSet, source: Source) -> DataSetVersion:
    try:
        with transaction.atomic():
            return _row(who, data_set, source)
    except IntegrityError:  # somebody added the same in this moment
        return data_set.versions.get(address=source.address)


def _row(who: Principal, data_set: DataSet, source: Source) -> DataSetVersion:
    DataSet.objects.select_for_update().get(pk=data_set.pk)  # two at once would take one number
    last = data_set.versions.aggregate(last=Max("number"))["last"] or 0
    version = DataSetVersion.objects.create(
        data_set=data_set,
        number=last + 1,
        address=source.address,
        filename=source.file.filename,
        source_bytes=source.size_bytes,
        **asdict(source.wanted),
    )
    files.reserve(who, version.pk, source.size_bytes)
    after = {"number": version.number, "file_id": source.file.pk, "sha256": source.file.sha256}
    audit.record("dataset.version", "dataset", data_set.name, pk=data_set.pk, after=after)
    transaction.on_commit(partial(tasks.enqueue_validation, version.pk))
    return version


def _source(who: Principal, wanted: Wanted) -> Source:
    """Raises: NotFound, InvalidValue."""
    held = wanted.validation_file_id
    return Source(
        wanted,
        _file(wanted.file_id, who, "file_id"),
        _file(held, who, "validation_file_id") if held else None,
    )


def _file(file_id: str, who: Principal, param: str) -> File:
    """Raises: NotFound, InvalidValue."""
    file = files.find(file_id, who)
    if file.purpose != "fine-tune":
        words = f"The file `{file.pk}` has the purpose {file.purpose}: upload it as fine-tune."
        raise InvalidValue(words, param=param)
    return file


def _check_name(name: str) -> None:
    """Raises: InvalidValue."""
    if not 1 <= len(name.strip()) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise InvalidValue(f"A name has 1 to {LONGEST_NAME} characters that print.", param="name")


def _checked(wanted: Wanted, who: Principal) -> Wanted:
    """Raises: InvalidValue, ModelNotFound."""
    share = wanted.held_out
    if not (math.isfinite(share) and 0 <= share <= LARGEST_SHARE):
        raise InvalidValue(f"The share must be 0 to {LARGEST_SHARE}.", param="held_out")
    if share and wanted.validation_file_id:
        words = "Hold out a share of the rows, or bring a validation file: not both."
        raise InvalidValue(words, param="held_out")
    if not 1 <= wanted.max_length <= LONGEST_ROW_TOKENS:
        raise InvalidValue(f"It must be 1 to {LONGEST_ROW_TOKENS}.", param="max_length")
    return replace(wanted, base=bases.find(wanted.base, who)[0]) if wanted.base else wanted


def _check_held(who: Principal, team: int) -> None:
    """Raises: PermissionDenied."""
    if not who.allows_in(SCOPE, team):
        raise PermissionDenied(f"This needs the scope {SCOPE} in the team that owns it.")


# --- reads, and the end ---------------------------------------------------------------------------


def visible(who: Principal) -> DataSets:
    return DataSet.objects.visible_to(who)


def find(data_set_id: str, who: Principal) -> DataSet:
    """Raises: NotFound, also for what they may not see."""
    found = visible(who).select_related("team").filter(pk=data_set_id[:64]).first()
    if found is None:
        raise NotFound(f"There is no data set `{data_set_id[:64]}`, or it is not yours.")
    return found


def find_version(data_set: DataSet, number: int) -> DataSetVersion:
    """Raises: NotFound."""
    found = data_set.versions.filter(number=number).first()
    if found is None:
        raise NotFound(f"The data set `{data_set.name}` has no version {number}.")
    return found


def withdraw(who: Principal, version: DataSetVersion) -> DataSetVersion:
    """Let nothing new be trained on it. Raises: PermissionDenied, Conflict."""
    data_set = version.data_set
    _check_held(who, data_set.ownership[0])
    with transaction.atomic():
        rows = DataSetVersion.objects.filter(pk=version.pk, state=State.READY)
        if not rows.update(state=State.WITHDRAWN):
            raise Conflict(f"Only a ready version can be withdrawn: this one is {version.state}.")
        after = {"number": version.number}
        audit.record("dataset.withdraw", "dataset", data_set.name, pk=data_set.pk, after=after)
    version.refresh_from_db()
    return version


def remove(who: Principal, data_set: DataSet) -> None:
    """Take away the rows, then the files. Raises: PermissionDenied, Conflict."""
    _check_held(who, data_set.ownership[0])
    with transaction.atomic():
        versions = [*data_set.versions.all()]
        for version in versions:
            _check_unused(version)
            quotas.release(files.STORAGE, version.pk)
        audit.record("dataset.remove", "dataset", data_set.name, pk=data_set.pk)
        data_set.delete()
    for version in versions:
        shelf.remove(version.pk)


def _check_unused(version: DataSetVersion) -> None:
    """Raises: Conflict."""
    for asked in USERS:
        if reason := asked(version):
            raise Conflict(reason)
