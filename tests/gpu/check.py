"""The transformers engine's own check on a CUDA machine: right answers first, then its speed.

`python -m tests.gpu.check [--device cuda] [--streams 1 8 32 128] [--small]`. Needs torch,
transformers, tokenizers, safetensors, msgspec, jinja2, psutil and numpy; no Django, no network,
no model files: random weights made from configs. Ends with status 1 if an answer is wrong.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from inference import wire
from inference.engines.base import Job, Setting
from inference.engines.llm_transformers import LlmTransformers

VOCAB = 32_000
SMALL: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.2,
}
LARGE: dict[str, Any] = {  # the shape of a 1.2 billion parameter Llama
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
}
WAIT_S = 300.0


@dataclass
class Answer:
    """What an engine sent for one request."""

    tokens: list[int] = field(default_factory=list)
    last: wire.Any | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def emit(self, frame: wire.Any) -> None:
        if isinstance(frame, wire.Delta):
            self.tokens += [int(told.raw[1:]) for told in frame.logprobs or []]
        elif isinstance(frame, wire.Done | wire.Failure):
            self.last = frame
            self.ended.set()


class Engine:
    """An engine over a folder, asked for tokens."""

    def __init__(self, folder: Path, device: str, dtype: str) -> None:
        self.engine = LlmTransformers()
        spec = wire.ModelSpec(
            name="check", kind="llm", engine="llm_transformers", path=str(folder), dtype=dtype
        )
        setting = Setting(max(1, torch.get_num_threads()), device, 0, lambda _done, _all: None)
        self.loaded = self.engine.load(spec, setting)
        self._stream = 0

    def start(self, prompt: list[int], count: int, *, told: bool) -> Answer:
        self._stream += 1
        rules = wire.Sampling(max_tokens=count, temperature=0.0, ignore_eos=True)
        body = wire.Generate(
            prompt=wire.TokenPrompt(tokens=prompt), sampling=rules, logprobs=0 if told else None
        )
        answer = Answer()
        self.engine.submit(Job(self._stream, body, answer.emit))
        return answer

    def close(self) -> None:
        self.engine.close()


def make_folder(folder: Path, config: Any) -> Path:
    """Save random weights and a tokenizer whose token N is the text `tN`."""
    torch.manual_seed(7)
    auto: Any = transformers.AutoModelForCausalLM
    model = auto.from_config(config, dtype=torch.float32)
    model.generation_config.eos_token_id = None
    model.save_pretrained(folder)
    backend = Tokenizer(models.WordLevel({f"t{at}": at for at in range(VOCAB)}, unk_token="t0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.Metaspace()
    fast: Any = transformers.PreTrainedTokenizerFast
    fast(tokenizer_object=backend).save_pretrained(folder)
    return folder


def config_of(kind: str, sizes: dict[str, Any]) -> Any:
    configs: dict[str, Any] = {
        "llama": transformers.LlamaConfig,
        "qwen2": transformers.Qwen2Config,
        "gemma2": transformers.Gemma2Config,
    }
    own = {"head_dim": 32, "sliding_window": 64} if kind == "gemma2" else {}
    return configs[kind](
        vocab_size=VOCAB, bos_token_id=None, eos_token_id=None, pad_token_id=None, **sizes, **own
    )


def prompt_of(count: int, seed: int) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(VOCAB) for _ in range(count)]


@torch.inference_mode()
def expected(folder: Path, device: str, plans: list[tuple[list[int], int]]) -> list[list[int]]:
    """Give what transformers' `generate` says in float32."""
    auto: Any = transformers.AutoModelForCausalLM
    model = auto.from_pretrained(folder, dtype=torch.float32).to(device)
    answers: list[list[int]] = []
    for prompt, count in plans:
        ids = torch.tensor([prompt], device=device)
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
        answers.append(out[0, len(prompt) :].tolist())
    return answers


def check(kind: str, device: str) -> list[str]:
    """Compare answers that run together, join late and end early; give what is wrong."""
    plans = [
        (prompt_of(length, seed), count)
        for seed, (length, count) in enumerate(
            [(5, 64), (40, 20), (300, 48), (1200, 32), (17, 128), (257, 5), (64, 96), (900, 16)]
        )
    ]
    plans.append(([*plans[2][0], *prompt_of(30, 99)], 24))  # begins with a kept prompt
    with tempfile.TemporaryDirectory() as name:
        folder = make_folder(Path(name), config_of(kind, SMALL))
        right = expected(folder, device, plans)
        engine = Engine(folder, device, "float32")
        try:
            answers = [engine.start(*plan, told=True) for plan in plans[:4]]
            answers[1].ended.wait(WAIT_S)
            answers += [engine.start(*plan, told=True) for plan in plans[4:]]
            for answer in answers:
                answer.ended.wait(WAIT_S)
        finally:
            engine.close()
    return [
        f"{kind}, prompt of {len(plans[at][0])}: {answer.last} at token {_differs(answer.tokens, right[at])}"
        for at, answer in enumerate(answers)
        if answer.tokens != right[at]
    ]


def _differs(found: list[int], right: list[int]) -> int:
    pairs = zip(found, right, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(found), len(right)))


def speed(device: str, streams: list[int], sizes: dict[str, Any]) -> list[dict[str, float]]:
    """Measure generated tokens per second in the device's own number format."""
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        engine = Engine(make_folder(Path(name), config_of("llama", sizes)), device, "auto")
        try:
            _burst(engine, 4, 16, 0)
            for count in streams:
                rates = [_burst(engine, count, 128, round_ * 1000 + count) for round_ in range(3)]
                rows.append({"streams": count, "best": max(rates), "worst": min(rates)})
        finally:
            engine.close()
    return rows


def _burst(engine: Engine, streams: int, count: int, seed: int) -> float:
    began = time.perf_counter()
    answers = [
        engine.start(prompt_of(64, seed * 131 + at), count, told=False) for at in range(streams)
    ]
    for answer in answers:
        if not answer.ended.wait(WAIT_S) or not isinstance(answer.last, wire.Done):
            raise RuntimeError(f"no whole answer: {answer.last}")
    return streams * count / (time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--small", action="store_true", help="measure the small model")
    chosen = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    wrong = [fault for kind in ("llama", "qwen2", "gemma2") for fault in check(kind, chosen.device)]
    rows = speed(chosen.device, chosen.streams, SMALL if chosen.small else LARGE)
    report = {
        "device": torch.cuda.get_device_name() if chosen.device.startswith("cuda") else "cpu",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "wrong": wrong,
        "tokens_per_s": rows,
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
