"""The shape of config/hub.json: limits, memory policy, names and training defaults."""

from pathlib import Path
from typing import Annotated, Any

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]

Group = Annotated[list[Name], msgspec.Meta(min_length=2, max_length=64)]


class Section(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Base of every part: unknown keys are refused."""


class ModelConfig(Section, frozen=True):
    max_concurrent_models: Count | None = None  # None: as many as memory holds
    auto_unload_timeout: Seconds = 900.0  # idle seconds; 0: never
    priority_models: list[Name] = []
    never_together: list[Group] = []
    always_together: list[Group] = []
    prefetch: bool = True

    def __post_init__(self) -> None:
        """Raises: ValueError, told by msgspec with the place."""
        apart, together = (
            [*map(frozenset, g)] for g in (self.never_together, self.always_together)
        )
        for groups, where in ((self.never_together, "never"), (self.always_together, "always")):
            if doubled := next((g for g in groups if len(set(g)) < len(g)), None):
                raise ValueError(f"{where}_together names a model twice: {', '.join(doubled)}")
        most = self.max_concurrent_models
        if most and (large := next((g for g in self.always_together if len(g) > most), None)):
            raise ValueError(
                f"always_together has more models than max_concurrent_models ({most}): "
                + ", ".join(large)
            )
        if torn := next((a & b for a in apart for b in together if len(a & b) > 1), None):
            raise ValueError(f"never and always together: {', '.join(sorted(torn))}")
        for name in {name for group in together for name in group}:
            if sum(name in group for group in together) > 1:
                raise ValueError(f"`{name}` is in two groups of always_together; make them one")


class Limits(Section, frozen=True):
    """None means no limit of this kind."""

    requests_per_minute: Count | None = None
    tokens_per_hour: Count | None = None
    concurrent_requests: Count | None = None


class RateLimits(Section, frozen=True):
    """Limits of one user; `per_user_limits` overrides them by name, or `false` counts keys alone."""

    requests_per_minute: Count | None = 6000
    tokens_per_hour: Count | None = 100_000_000
    concurrent_requests: Count | None = 1000
    per_user_limits: bool | dict[Name, Limits] = True


class TrainingConfig(Section, frozen=True):
    """Defaults of a training job, each of which may override it; None: resolved for the job at hand."""

    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    num_epochs: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    gradient_accumulation_steps: Annotated[int, msgspec.Meta(ge=1, le=4096)] | None = None
    max_length: Annotated[int, msgspec.Meta(ge=16, le=1_048_576)] | None = None
    lora_rank: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    lora_alpha: Annotated[float, msgspec.Meta(gt=0, le=4096)] | None = None
    lora_dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] | None = None
    keep_checkpoints: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] | None = None


class OAuth2(Section, frozen=True):
    """Where a provider without OpenID Connect is asked."""

    authorize_url: Annotated[str, msgspec.Meta(min_length=1, max_length=400)]
    token_url: Annotated[str, msgspec.Meta(min_length=1, max_length=240)]
    userinfo_url: Annotated[str, msgspec.Meta(min_length=1, max_length=240)]
    subject_claim: Annotated[str, msgspec.Meta(min_length=1, max_length=60)] = "id"
    scope: Annotated[str, msgspec.Meta(max_length=300)] = ""


class SignOn(Section, frozen=True):
    """An OpenID or OAuth2 provider by file; those of the page lie in the database."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,40}$")]
    client_id: Name
    issuer: Name | None = None
    oauth2: OAuth2 | None = None
    title: str = ""
    client_secret_file: str = ""
    group_claim: str = "groups"
    roles: dict[Name, Name] = {}  # group -> role
    teams: dict[Name, Name] = {}
    default_role: str = ""
    makes_accounts: bool = True
    vouches_factor: bool = False

    def __post_init__(self) -> None:
        """Raises: ValueError, told by msgspec with the place."""
        if (self.issuer is None) == (self.oauth2 is None):
            raise ValueError(f"the provider {self.name} has either `issuer` or `oauth2`")


class HubConfig(Section, frozen=True):
    model_config: ModelConfig = ModelConfig()
    rate_limits: RateLimits = RateLimits()
    model_mapping: dict[Name, Name] = {}  # a name that clients use -> a model or alias
    training_config: TrainingConfig = TrainingConfig()
    single_sign_on: list[SignOn] = []


class ConfigError(ValueError):
    """The file cannot be used; the messages name each place."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


def load(file: Path, *, is_named: bool = False) -> HubConfig:
    """Read the file; a missing one gives the defaults, unless somebody named it.

    Raises: ConfigError.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        if is_named:
            raise ConfigError(["there is no such file"]) from None
        return HubConfig()
    except OSError as error:
        raise ConfigError([f"cannot be read: {error.strerror}"]) from error
    return parse(content)


def load_or_kept(
    file: Path, kept: Path | None, *, is_named: bool = False
) -> tuple[HubConfig, list[str], bool]:
    """Give what the file says, else what a running hub kept of it; what is wrong; whether it was kept.

    With nothing kept, the defaults hold until the problems are told.
    """
    try:
        return load(file, is_named=is_named), [], False
    except ConfigError as error:
        try:
            return load(kept, is_named=True) if kept else HubConfig(), error.messages, bool(kept)
        except ConfigError:
            return HubConfig(), error.messages, False


def parse(content: bytes) -> HubConfig:
    """Raises: ConfigError with one message for each bad section."""
    try:
        tree = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"is not a JSON object: {error}"]) from error
    except RecursionError as error:
        raise ConfigError(["is not a JSON object: it is nested too deeply"]) from error
    fields = {field.name: field.type for field in msgspec.structs.fields(HubConfig)}
    sections: dict[str, Any] = {}
    messages: list[str] = []
    for name, value in tree.items():
        if name not in fields:
            messages.append(f"`{name}`: unknown section; there are {', '.join(fields)}")
            continue
        try:
            sections[name] = msgspec.convert(value, fields[name])
        except msgspec.ValidationError as error:
            messages.append(_place(name, str(error)))
    if messages:
        raise ConfigError(messages)
    return HubConfig(**sections)


def flat(config: HubConfig) -> dict[str, Any]:
    """Give what it says as JSON has it, by `section.field`; a list or a mapping of names stays whole."""
    tree = msgspec.to_builtins(config)
    found: dict[str, Any] = {}
    for section, value in tree.items():
        is_whole = not isinstance(getattr(config, section), Section)
        found |= {section: value} if is_whole else {f"{section}.{k}": v for k, v in value.items()}
    return found


def differences(before: HubConfig, after: HubConfig) -> list[str]:
    """Name each place that says something else."""
    old, new = flat(before), flat(after)
    return [place for place, value in new.items() if old[place] != value]


def _place(section: str, message: str) -> str:
    """Turn msgspec's "... - at `$.a.b`" into "`section.a.b`: ..."."""
    what, _, where = message.partition(" - at `$")
    return f"`{section}{where.rstrip('`')}`: {what[:1].lower()}{what[1:]}"
