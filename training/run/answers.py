"""Answers of the model under training, greedy, with or without its adapter."""

import json
import re
from collections.abc import Sequence
from typing import Any

import torch

from training.run.rendering import Renderer

CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)
FENCE = re.compile(r"^```(?:json)?\s*|\s*```$")


@torch.inference_mode()
def greedy(model: Any, renderer: Renderer, prompt: Sequence[int], max_tokens: int) -> list[int]:
    """Give the new tokens, without what ends them."""
    was_training = model.training
    model.eval()
    ids = torch.tensor([list(prompt)], device=model.device)
    ends = sorted(ends_of(model, renderer))
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=max_tokens,
        do_sample=False,
        num_beams=1,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
        eos_token_id=ends or None,
        pad_token_id=ends[0] if ends else 0,
    )
    model.train(was_training)
    new: list[int] = out[0, len(prompt) :].tolist()
    return new[:-1] if new and new[-1] in ends else new


def ends_of(model: Any, renderer: Renderer) -> set[int]:
    named = model.generation_config.eos_token_id
    found = set(named if isinstance(named, list) else [named])
    return {end for end in found | {renderer.eos} if end is not None}


def text(renderer: Renderer, tokens: Sequence[int]) -> str:
    return b"".join(map(renderer.vocabulary.token_bytes, tokens)).decode(errors="replace")


def to_prompt(model: Any, renderer: Renderer, prompt: str, max_tokens: int) -> str:
    """Answer a user's words; a model without a template continues them."""
    if renderer.template is None:
        ids = (
            renderer.text(prompt).ids[:-1]
            if renderer.eos is not None
            else renderer.text(prompt).ids
        )
    else:
        ids = renderer.prompt([{"role": "user", "content": prompt}])
    return text(renderer, greedy(model, renderer, ids, max_tokens)).strip()


# --- is it valid ----------------------------------------------------------------------------------


def is_json(answer: str) -> bool:
    try:
        return isinstance(json.loads(FENCE.sub("", answer.strip())), dict | list)
    except ValueError:
        return False


def calls_of(answer: str) -> list[dict[str, Any]] | None:
    """Give the tool calls of an answer, tagged or bare; None where one is no valid call."""
    found = CALL.findall(answer) or [FENCE.sub("", answer.strip())]
    calls = []
    for part in found:
        try:
            call = json.loads(part)
        except ValueError:
            return None
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            return None
        calls.append(call)
    return calls


def are_calls_valid(answer: str, tools: Sequence[Any]) -> bool:
    """Each names a known tool, and has the arguments that its schema requires and no others."""
    calls = calls_of(answer)
    if not calls:
        return False
    known = {tool.get("function", tool)["name"]: tool.get("function", tool) for tool in tools}
    return all(call["name"] in known and _fits(call, known[call["name"]]) for call in calls)


def _fits(call: dict[str, Any], tool: dict[str, Any]) -> bool:
    given = call.get("arguments", {})
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            return False
    schema = tool.get("parameters") or {}
    properties = schema.get("properties") or {}
    needed = set(schema.get("required") or ())
    return isinstance(given, dict) and needed <= given.keys() <= properties.keys() | needed
