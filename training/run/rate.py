"""How fast this machine trains: a small decoder of random weights takes a few real steps.

`python -m training.run.rate` writes a line of JSON: the device, and floating-point operations a second by
precision. A forward has two of them for each weight and token, a backward through frozen weights two more.
"""

import json
import os
import time
from typing import Any

import torch
from transformers import LlamaConfig, LlamaModel

from training.contract import Limits

ROWS, TOKENS, STEPS = 4, 128, 3
PASSES = 4  # floating-point operations for each weight and token
SHAPE = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 3,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 64,
}


def measure() -> dict[str, object]:
    torch.set_num_threads(Limits().threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rates = {name: _rate(getattr(torch, name), device) for name in ("float32", "bfloat16")}
    return {"device": device.type, "rates": rates}


def _rate(dtype: torch.dtype, device: torch.device) -> float:
    shaped: Any = LlamaConfig
    made: Any = LlamaModel(shaped(**SHAPE))
    model = made.to(device, dtype).requires_grad_(False)
    rows = torch.randn(ROWS, TOKENS, model.config.hidden_size, device=device, dtype=dtype)
    rows.requires_grad_()
    _step(model, rows)  # warms the libraries up
    best_s = min(_step(model, rows) for _ in range(STEPS))
    weights = sum(int(part.numel()) for part in model.layers.parameters())
    return PASSES * weights * ROWS * TOKENS / best_s


def _step(model: Any, rows: torch.Tensor) -> float:
    """Give the seconds of a forward and its backward; on a CPU, those that the process had of it."""
    clock = time.perf_counter if rows.device.type == "cuda" else time.process_time
    began_s = clock()
    model(inputs_embeds=rows, use_cache=False).last_hidden_state.float().sum().backward()
    if rows.device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - began_s


def main() -> None:
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print
    os.write(out, json.dumps(measure()).encode() + b"\n")


if __name__ == "__main__":
    main()
