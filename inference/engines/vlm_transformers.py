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
        model = checkpoint.image_text_model(dtype, self._device, setting.progress)
        decoder = VisionDecoder(model)
        self._eyes = VisionPrompts(checkpoint.folder, self._vocabulary, decoder)
        self._decoder, self._prompts = decoder, self._eyes.encoder

    def _lane(self, job: Job) -> ThreadPoolExecutor:
        return self._looking if _images(job.body) else self._encoding

    def _prompt(self, body: wire.Generate) -> tuple[list[int], object]:
        prompt = body.prompt
        if not isinstance(prompt, wire.ChatPrompt) or not _images(body):
            return super()._prompt(body)

        def room(tokens: int) -> None:
            room_for(body, range(tokens), self._context, "messages")

        return self._eyes.encode(prompt.messages, self._context, room)


def _images(body: wire.Body) -> bool:
    prompt = body.prompt if isinstance(body, wire.Generate) else None
    return isinstance(prompt, wire.ChatPrompt) and any(m.images for m in prompt.messages)


ENGINE = VlmTransformers
