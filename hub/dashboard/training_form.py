"""The form of a training: what its address says, and every value of the recipe as a field of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.principals import Principal
from hub.dashboard import build_words, job_page
from inference.errors import HubError, InvalidValue
from training import gate, jobs, plans, sets
from training.after import After
from training.models import DataSetVersion, Job
from training.recipes import shapes

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

PREFIX, GATE_PREFIX = "set-", "gate-"  # of a recipe's field and of a limit in the address
MAX_CHARS = 400
MAX_PROMPT_CHARS = 4_000  # of all, since the address keeps them
SHOWN_VERSIONS = 200
FIRST = ("epochs", "learning_rate", "batch_size", "max_length", "rank", "alpha")
REST = (
    "dropout", "target_modules", "beta", "gradient_accumulation", "max_steps", "schedule", "warmup_steps",
    "weight_decay", "max_grad_norm", "adam_beta1", "adam_beta2", "adam_epsilon", "precision",
    "nested_quantization", "gradient_checkpointing", "packing", "group_by_length", "train_on",
    "save_every_steps", "eval_every_steps", "keep_checkpoints",
)  # fmt: skip
YES_NO = ("yes", "no")
CHOICES: dict[str, tuple[str, ...]] = {
    "schedule": ("linear", "cosine", "constant"),
    "precision": ("float32", "bfloat16"),
    "train_on": ("assistant", "last", "all"),
    "nested_quantization": YES_NO,
    "gradient_checkpointing": YES_NO,
    "packing": YES_NO,
    "group_by_length": YES_NO,
}
WORDS: "dict[str, _StrPromise]" = {
    "epochs": gettext_lazy("Times through the data"),
    "learning_rate": gettext_lazy("Learning rate"),
    "batch_size": gettext_lazy("Rows at once"),
    "max_length": gettext_lazy("Longest row, in tokens"),
    "rank": gettext_lazy("Rank of the adapter"),
    "alpha": gettext_lazy("Weight of the adapter (alpha)"),
    "max_steps": gettext_lazy("Steps at most"),
}
LIMITS: "dict[str, _StrPromise]" = {
    "max_loss_ratio": gettext_lazy("Validation loss, at most times the base's"),
    "max_guard_ratio": gettext_lazy("Loss on the guard set, at most times the base's"),
    "min_exact_match": gettext_lazy("Exact answers, share at least"),
    "min_json_valid": gettext_lazy("Valid JSON, share at least"),
    "min_tool_calls_valid": gettext_lazy("Valid tool calls, share at least"),
    "max_champion_ratio": gettext_lazy("Loss, at most times that of who answers now"),
    "max_champion_drop": gettext_lazy("Right answers, share fewer than who answers now, at most"),
}
PAIRS = "preference"  # the form of data that DPO alone learns from


@dataclass(frozen=True, slots=True)
class Wish:
    """What the address says so far; each step adds to it."""

    base: str = ""
    version: str = ""
    training_type: str = ""
    suffix: str = ""
    seed: str = ""
    is_preemptible: bool = True
    prompts: str = ""  # one a line
    guard: str = ""  # a version that should not become worse
    config: Mapping[str, str] = field(default_factory=dict)
    gate: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, query: QueryDict) -> "Wish":
        given = {name: query.get(name, "").strip()[:MAX_CHARS] for name in query}
        kind = given.get("type", "")
        return cls(
            base=given.get("base", ""),
            version=given.get("version", ""),
            training_type=kind if kind in shapes.TYPES else "",
            suffix=given.get("suffix", ""),
            seed=given.get("seed", ""),
            is_preemptible=given.get("yields", "yes") == "yes",
            prompts=query.get("prompts", "")[:MAX_PROMPT_CHARS],
            guard=given.get("guard", ""),
            config=_under(PREFIX, given),
            gate=_under(GATE_PREFIX, given),
        )

    def for_data(self, version: DataSetVersion) -> "Wish":
        """With a type that can learn from this data, where none that can is chosen."""
        offered = types(version)
        return self if self.training_type in offered else replace(self, training_type=offered[0])

    def address(self) -> dict[str, str]:
        about = {"base": self.base, "version": self.version, "type": self.training_type}
        more = {
            "prompts": self.prompts,
            "suffix": self.suffix,
            "seed": self.seed,
            "guard": self.guard,
            "yields": YES_NO[not self.is_preemptible],
        }
        fields = {PREFIX + name: text for name, text in self.config.items()}
        fields |= {GATE_PREFIX + name: text for name, text in self.gate.items()}
        return about | {name: text for name, text in more.items() if text} | fields

    def changed(self, change: Mapping[str, Any]) -> dict[str, str]:
        """Give the address of this with other values; another tuner is another type."""
        fields = {PREFIX + name: _text(value) for name, value in change.items()}
        tuner = fields.pop(f"{PREFIX}tuner", None)
        is_small = fields.pop(f"{PREFIX}quantization", None)
        kind = {"type": "qlora" if is_small else "lora"} if tuner else {}
        return self.address() | fields | kind

    def wanted(self, of: DataSetVersion, who: Principal) -> jobs.Wanted:
        """Raises: InvalidValue."""
        return jobs.Wanted(
            base=self.base,
            training_type=self.training_type,
            version=of,
            config={name: _value(name, text) for name, text in self.config.items()},
            suffix=self.suffix,
            seed=_seed(self.seed),
            is_preemptible=self.is_preemptible,
            after=After(
                prompts=[text for line in self.prompts.splitlines() if (text := line.strip())],
                guard=version(self.guard, who) if self.guard else None,
                gate={name: _value(name, text) for name, text in self.gate.items()},
            ),
        )


def _under(prefix: str, given: Mapping[str, str]) -> dict[str, str]:
    """Give what was filled in of the fields with this prefix."""
    found = {name: text for name, text in given.items() if name.startswith(prefix) and text}
    return {name.removeprefix(prefix): text for name, text in found.items()}


def like(job: Job) -> dict[str, str]:
    """Give the address of a training that is wanted like another."""
    said = {name: value for name, value in job.config.items() if name not in shapes.SECTIONS}
    said |= job.config.get(job.training_type) or {}
    names = {shapes.SYNONYMS.get(name, name): value for name, value in said.items()}
    fields = {PREFIX + name: _text(value) for name, value in names.items() if name in FIRST + REST}
    fields |= {GATE_PREFIX + name: _text(value) for name, value in job.gate.items()}
    about = {"base": job.base, "version": job.version_id, "type": job.training_type}
    about |= {"guard": job.guard_id} if job.guard_id else {}
    return about | {"suffix": job.suffix, "prompts": "\n".join(job.prompts)} | fields


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return YES_NO[not value]
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _value(name: str, text: str) -> Any:
    """Read what a person wrote; what is no number stays text, and is refused where it must be one."""
    if name == "target_modules":
        return text.replace(",", " ").split()
    if CHOICES.get(name) == YES_NO and text in YES_NO:
        return text == "yes"
    if text.isdecimal() and len(text) < 12:
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def _seed(text: str) -> int | None:
    """Raises: InvalidValue."""
    if not text:
        return None
    if not text.isdecimal() or len(text) > 10 or int(text) > shapes.MAX_SEED:
        words = _("The seed is a whole number of up to %(n)s.") % {"n": shapes.MAX_SEED}
        raise InvalidValue(words, param="seed")
    return int(text)


@dataclass(frozen=True, slots=True)
class Field:
    """A value that may be given; empty: `usual`, because of `reason`."""

    name: str
    word: str
    given: str
    usual: str
    reason: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """The third step: fields with what they would be, the plan, or what is wrong."""

    first: list[Field]
    rest: list[Field]
    limits: list[Field]
    plan: dict[str, Any] | None = None
    problem: str = ""
    param: str = ""


def form(wish: Wish, version: DataSetVersion, who: Principal, say: Any) -> Form:
    """Plan as wished; where that is refused, the fields are as they usually are."""
    try:
        wanted = wish.wanted(version, who)
        wanted.after.fields()
        plan = plans.shown(plans.of(wanted, who))
    except HubError as error:
        usual = _usual(wish, version, who)
        problem, param = say(error), (error.param or "").rpartition(".")[2]
        return Form(*_fields(wish, usual), _limits(wish), problem=problem, param=param)
    return Form(*_fields(wish, plan), _limits(wish), plan=plan)


def _usual(wish: Wish, version: DataSetVersion, who: Principal) -> dict[str, Any]:
    plain = Wish(base=wish.base, training_type=wish.training_type)
    try:
        return plans.shown(plans.of(plain.wanted(version, who), who))
    except HubError:
        return {"recipe": {}, "reasons": {}}


def _fields(wish: Wish, plan: dict[str, Any]) -> tuple[list[Field], list[Field]]:
    known = shapes.allowed(shapes.read(wish.training_type, {}))
    if wish.training_type != "qlora":
        known -= {"nested_quantization"}
    return tuple(  # type: ignore[return-value]
        [_field(name, wish, plan) for name in names if name in known] for names in (FIRST, REST)
    )


def _field(name: str, wish: Wish, plan: dict[str, Any]) -> Field:
    usual = plan["recipe"].get(name)
    return Field(
        name=name,
        word=str(WORDS.get(name, name)),
        given=wish.config.get(name, ""),
        usual="" if usual is None else job_page.shown(usual),
        reason=build_words.reason(plan["reasons"].get(name, "")),
        choices=CHOICES.get(name, ()),
    )


def _limits(wish: Wish) -> list[Field]:
    """Give the limits of the gate; an empty one is the usual."""
    usual = msgspec.to_builtins(gate.Limits())
    return [
        Field(name, str(word), wish.gate.get(name, ""), job_page.shown(usual[name]), reason="")
        for name, word in LIMITS.items()
    ]


def guards(of: DataSetVersion, who: Principal) -> list[DataSetVersion]:
    """Give the sets that can guard this one: others of the same form."""
    return [one for one in versions(who) if one.format == of.format and one.pk != of.pk]


def versions(who: Principal) -> list[DataSetVersion]:
    """Give the newest ready version of each data set, for what is to be trained."""
    ready = DataSetVersion.objects.filter(
        data_set__in=sets.visible(who), state=DataSetVersion.State.READY
    )
    rows = ready.select_related("data_set").order_by("-data_set__created_at", "-number")
    newest: dict[str, DataSetVersion] = {}
    for row in rows:
        newest.setdefault(row.data_set_id, row)
    return [*newest.values()][:SHOWN_VERSIONS]


def version(key: str, who: Principal) -> DataSetVersion | None:
    """Give a ready version that is there for this person."""
    rows = DataSetVersion.objects.filter(data_set__in=sets.visible(who), pk=key[:64])
    return rows.filter(state=DataSetVersion.State.READY).select_related("data_set").first()


def types(of: DataSetVersion) -> list[str]:
    """Give the types that can learn from data of this form."""
    return [kind for kind in shapes.TYPES if (kind == "dpo") == (of.format == PAIRS)]
