"""Fine-tuning jobs as OpenAI's API shows them, and what a client may ask for."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference.errors import InvalidValue
from inference.openai.fields import Metadata, ModelName, convert, number, unsupported

METHODS = {"supervised": "lora", "dpo": "dpo"}
HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")
PAIR = "metadata["
Auto = Literal["auto"]


class Hyperparameters(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is `auto`, or not given, the hub resolves."""

    n_epochs: Auto | Annotated[int, Meta(ge=1, le=1000)] | None = None
    batch_size: Auto | Annotated[int, Meta(ge=1, le=1024)] | None = None
    learning_rate_multiplier: Auto | Annotated[float, Meta(gt=0, le=1000)] | None = None


class DpoHyperparameters(Hyperparameters, forbid_unknown_fields=True, omit_defaults=True):
    beta: Auto | Annotated[float, Meta(gt=0, le=10)] | None = None


class Supervised(msgspec.Struct, forbid_unknown_fields=True):
    hyperparameters: Hyperparameters = msgspec.field(default_factory=Hyperparameters)


class Dpo(msgspec.Struct, forbid_unknown_fields=True):
    hyperparameters: DpoHyperparameters = msgspec.field(default_factory=DpoHyperparameters)


class Method(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["supervised", "dpo"]
    supervised: Supervised | None = None
    dpo: Dpo | None = None


class Create(msgspec.Struct, forbid_unknown_fields=True):
    model: ModelName
    training_file: Annotated[str, Meta(min_length=1, max_length=64)]
    validation_file: Annotated[str, Meta(max_length=64)] | None = None
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    suffix: Annotated[str, Meta(max_length=64)] | None = None
    seed: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    metadata: Metadata | None = None
    integrations: list[Any] | None = None


class Query(msgspec.Struct, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    after: Annotated[str, Meta(max_length=64)] = ""
    metadata: Metadata | None = {}  # that a job has, among others; None: it has none at all

    def selects(self, metadata: dict[str, str]) -> bool:
        if self.metadata is None:
            return not metadata
        return self.metadata.items() <= metadata.items()


class Asked(msgspec.Struct):
    """What a request comes to: a type of training, its config, and where that stood."""

    training_type: str
    config: dict[str, Any]
    where: str


def create(fields: dict[str, Any]) -> Create:
    """Raises: InvalidValue, MissingParameter, UnknownParameter, UnsupportedParameter."""
    wanted = convert(fields, Create)
    if wanted.integrations:
        raise unsupported("integrations", "nothing of a training is sent to other services")
    return wanted


def asked(wanted: Create) -> Asked:
    """Raises: InvalidValue."""
    if wanted.method is None:
        given: Any = wanted.hyperparameters or Hyperparameters()
        return Asked("lora", msgspec.to_builtins(given), "hyperparameters")
    if wanted.hyperparameters is not None:
        words = "Give 'hyperparameters' or 'method', not both."
        raise InvalidValue(words, param="hyperparameters")
    kind = wanted.method.type
    part = getattr(wanted.method, kind)
    config = msgspec.to_builtins(part.hyperparameters) if part is not None else {}
    return Asked(METHODS[kind], config, f"method.{kind}.hyperparameters")


def query(raw: dict[str, str]) -> Query:
    """Read `after`, `limit`, and `metadata[key]=value` or `metadata=null`. Raises: InvalidValue."""
    typed: dict[str, Any] = {name: raw[name] for name in ("after",) if name in raw}
    if "limit" in raw:
        typed["limit"] = number("limit", raw["limit"])
    wanted = {name[len(PAIR) : -1]: raw[name] for name in raw if name.startswith(PAIR)}
    if "metadata" in raw and (wanted or raw["metadata"] != "null"):
        raise InvalidValue("metadata is metadata[key]=value, or null alone", param="metadata")
    return convert(typed | {"metadata": None if "metadata" in raw else wanted}, Query)
