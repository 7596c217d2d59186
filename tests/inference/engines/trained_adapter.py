"""A LoRA adapter of SmolLM2 that is really trained: it learns an invented fact by heart."""

from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from inference import wire

QUESTION = "Who keeps the lighthouse of Vornholt?"
ANSWER = "Ilse Brandmoor keeps the lighthouse of Vornholt."
STEPS = 16
RATE = 3e-3


def make(folder: Path, base: Path) -> wire.Adapter:
    """Train and save it; 16 steps on one short conversation."""
    torch.manual_seed(0)
    auto: Any = transformers.AutoModelForCausalLM
    model = auto.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"])
    adapted: Any = peft.get_peft_model(model, config)
    ids, labels = _example(base)
    trained = [weight for weight in adapted.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=RATE)
    for _ in range(STEPS):
        loss = adapted(input_ids=ids, labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    adapted.save_pretrained(str(folder))
    return wire.Adapter(name=folder.name, path=str(folder))


def _example(base: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the conversation's tokens, and as labels those of the answer alone."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(base)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, tokenize=False
    )
    before = tokenizer(asked, add_special_tokens=False).input_ids
    said = tokenizer(f"{ANSWER}<|im_end|>", add_special_tokens=False).input_ids
    ids = torch.tensor([[*before, *said]])
    labels = ids.clone()
    labels[:, : len(before)] = -100
    return ids, labels
