"""The sleep of a vLLM server: its weights in main memory, its GPUs free. Used by `llm_vllm` on its loop's thread.

Source: vLLM's sleep mode, level 1 (docs/features/sleep_mode.md). What is kept is tried after each sleep: there
were servers that woke up well by their status and then answered nonsense.
"""

import msgspec

from inference import wire
from inference.engines.upstream_client import Upstream
from inference.errors import EngineFailed, HubError

SAMPLE_TOKENS = 33  # more than two blocks of keys and values: old ones would show, too
RIVALS = 5  # that are told beside the token that was picked: two of nearly the same chance may change places
TOLERANCE = 0.25  # of a log probability: sums differ a little between batches and kernels


class _State(msgspec.Struct):
    is_sleeping: bool


class VllmSleep:
    def __init__(self, upstream: Upstream, vocabulary: int, context: int) -> None:
        self._upstream = upstream
        count = max(1, min(SAMPLE_TOKENS, context - 1))
        self._prompt = [at * vocabulary // count for at in range(count)]
        self._before: wire.TokenLogprob | None = None

    async def is_offered(self) -> bool:
        try:
            return not await self._is_sleeping()
        except HubError:
            return False

    async def begin(self) -> None:
        """Raises: HubError."""
        self._before = await self._sample()
        await self._upstream.control("POST", "sleep?level=1")
        if not await self._is_sleeping():
            raise EngineFailed("vLLM was told to sleep, and does not")

    async def end(self) -> None:
        """Raises: HubError, also where it answers otherwise than before."""
        await self._upstream.control("POST", "wake_up")
        if await self._is_sleeping():
            raise EngineFailed("vLLM was told to wake up, and sleeps on")
        found, before = await self._sample(), self._before
        if before is None or not _alike(before, found):
            raise EngineFailed("vLLM answers otherwise than before its sleep")

    async def _is_sleeping(self) -> bool:
        """Raises: HubError."""
        answer = await self._upstream.control("GET", "is_sleeping")
        try:
            return msgspec.json.decode(answer, type=_State).is_sleeping
        except msgspec.MsgspecError as error:
            raise EngineFailed("vLLM does not say whether it sleeps") from error

    async def _sample(self) -> wire.TokenLogprob:
        """Compute one token. Raises: HubError."""
        rules = wire.Sampling(max_tokens=1, temperature=0.0, ignore_eos=True)
        prompt, seen = wire.TokenPrompt(tokens=self._prompt), list[wire.Any]()
        body = wire.Generate(prompt=prompt, sampling=rules, logprobs=RIVALS)
        await self._upstream.generate(body, seen.append)
        deltas = [frame for frame in seen if isinstance(frame, wire.Delta)]
        found = [logprob for delta in deltas for logprob in delta.logprobs or []]
        if not found:
            raise EngineFailed("vLLM gave no token to compare")
        return found[0]


def _alike(before: wire.TokenLogprob, after: wire.TokenLogprob) -> bool:
    """Tell whether what was picked before has the same chance now, picked or not."""
    chances = {top.token: top.logprob for top in after.top} | {after.token: after.logprob}
    then, now = before.logprob, chances.get(before.token)
    return then is not None and now is not None and abs(then - now) <= TOLERANCE
