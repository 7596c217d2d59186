"""The engine for image-text models (LLaVA and its like): chat that sees, batched like any other.

Prompts with images are encoded on a thread of their own, so that text never waits for a vision tower.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import torch

from inference import wire
from inference.engines.base import Job, Setting
from inference.engines.checkpoint import Checkpoint
from inference.engines.choice import room_for
from inference.engines.token_engine import TokenEngine
from inference.engines.vision_decoder import VisionDecoder
from inference.engines.vision_prompts import VisionPrompts
from inference.errors import LoadFailed

# Whose texts and images see each other in both directions: a prompt is no prefix of a longer one, and
# in 16 bits the difference could lie within what a comparison must forgive.
BOTH_WAYS = frozenset({"paligemma"})


class VlmTransformers(TokenEngine):
    capabilities: ClassVar[list[str]] = ["chat", "completions", "images"]
    _eyes: VisionPrompts

    def __init__(self) -> None:
        super().__init__()
        self._looking = ThreadPoolExecutor(
            1, thread_name_prefix="look", initializer=lambda: torch.set_num_threads(self._threads)
        )

    def close(self) -> None:
        self._refuse("the model is being unloaded")
        self._looking.shutdown()
        super().close()

    def _open(
        self, checkpoint: Checkpoint, _spec: wire.ModelSpec, dtype: torch.dtype, setting: Setting
    ) -> None:
        _check_causal(checkpoint)
        model = checkpoint.image_text_model(dtype, self._device, setting.progress)
        decoder = VisionDecoder(model)
        self._eyes = VisionPrompts(checkpoint.folder, self._vocabulary, decoder)
        self._decoder, self._prompts = decoder, self._eyes.encoder

    def stats(self) -> wire.Stats:
        self._batch.most.see(self._eyes.most_pixels)
        return super().stats()

    def _lane(self, job: Job) -> ThreadPoolExecutor:
        return self._looking if _images(job.body) else self._encoding

    def _prompt(self, body: wire.Generate) -> tuple[list[int], object]:
        prompt = body.prompt
        if not isinstance(prompt, wire.ChatPrompt) or not _images(body):
            return super()._prompt(body)

        def room(tokens: int) -> None:
            room_for(body, range(tokens), self._context, "messages")

        return self._eyes.encode(prompt.messages, self._context, room)


def _check_causal(checkpoint: Checkpoint) -> None:
    """Raises: LoadFailed, before weights are read."""
    kind = str(checkpoint.config.model_type)
    text = checkpoint.config.get_text_config()
    if kind in BOTH_WAYS or getattr(text, "use_bidirectional_attention", None):
        raise LoadFailed(
            f"models of type {kind} look at an image in both directions, which this engine does not"
            " compute; a GGUF of the model with its projector may be served by llm_gguf"
        )


def _images(body: wire.Body) -> bool:
    prompt = body.prompt if isinstance(body, wire.Generate) else None
    return isinstance(prompt, wire.ChatPrompt) and any(m.images for m in prompt.messages)


ENGINE = VlmTransformers
