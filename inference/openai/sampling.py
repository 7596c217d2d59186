"""What chat and completions have in common: sampling, stop strings, fields without effect."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference import wire
from inference.openai.fields import INT64, Label, Metadata, TokenId, invalid, unsupported

Penalty = Annotated[float, Meta(ge=-2, le=2)]
StopString = Annotated[str, Meta(min_length=1, max_length=512)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
MAX_BIASES = 300
MAX_CHOICES = 128


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class SamplingFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """OpenAI's own fields, and behind them those that open-weight servers added."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, Meta(ge=-INT64, le=INT64 - 1)] | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=4)] | None = None
    logit_bias: Annotated[dict[str, Bias], Meta(max_length=MAX_BIASES)] | None = None

    top_k: Annotated[int, Meta(ge=-1, le=1_000_000)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    ignore_eos: bool | None = None

    # Accepted: they do not change the answer.
    user: Label | None = None
    metadata: Metadata | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    prompt_cache_retention: Label | None = None
    prompt_cache_options: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None

    def sampling(self, max_tokens: int | None) -> wire.Sampling:
        """Raises: InvalidValue on token ids in `logit_bias` that are no numbers."""
        greedy = self.top_p == 0 or self.top_k == 1
        return wire.Sampling(
            max_tokens=max_tokens,
            temperature=0.0 if greedy else _or(self.temperature, 1.0),
            top_p=1.0 if greedy else _or(self.top_p, 1.0),
            top_k=0 if greedy else max(self.top_k or 0, 0),
            min_p=self.min_p or 0.0,
            seed=self.seed,
            stop=_stops(self.stop),
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=_or(self.repetition_penalty, 1.0),
            logit_bias=_biases(self.logit_bias or {}),
            ignore_eos=bool(self.ignore_eos),
        )

    def check_common(self) -> None:
        """Raises: UnsupportedParameter, InvalidValue."""
        if self.store:
            raise unsupported("store", "answers are not stored; leave it out or send false")
        if self.service_tier not in {None, "auto", "default"}:
            raise unsupported("service_tier", "there is one tier; send auto or default")
        if self.stream_options is not None and not self.stream:
            raise invalid("stream_options", "it is only allowed when 'stream' is true")

    def tier(self) -> str | None:
        """Give the tier to report: only where it was asked about."""
        return None if self.service_tier is None else "default"


class Streaming(msgspec.Struct, frozen=True):
    """How an answer is to be sent."""

    stream: bool = False
    include_usage: bool = False
    obfuscate: bool = False


def streaming(fields: SamplingFields) -> Streaming:
    options = fields.stream_options or StreamOptions()
    return Streaming(
        bool(fields.stream), bool(options.include_usage), bool(options.include_obfuscation)
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else float(value)


def _stops(stop: str | list[str] | None) -> list[str]:
    if stop is None:
        return []
    return [stop] if isinstance(stop, str) else stop


def _biases(biases: dict[str, float]) -> dict[int, float]:
    try:
        return {_token(key): float(bias) for key, bias in biases.items()}
    except (ValueError, msgspec.ValidationError):
        raise invalid("logit_bias", 'its keys must be token ids, such as "50256"') from None


def _token(key: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) <= 10):
        raise ValueError(key)
    return msgspec.convert(int(key), TokenId)
