"""The engine for Hugging Face language models: own continuous batching, on CPU and CUDA."""

import torch

from inference.engines.base import Setting
from inference.engines.checkpoint import Checkpoint
from inference.engines.token_engine import TokenEngine


class LlmTransformers(TokenEngine):
    def _open(self, checkpoint: Checkpoint, dtype: torch.dtype, setting: Setting) -> None:
        self._prompts = self._vocabulary.prompt_encoder()
        self._decoder = checkpoint.decoder(dtype, self._device, setting.progress)


ENGINE = LlmTransformers
