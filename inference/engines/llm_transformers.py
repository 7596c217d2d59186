"""The engine for Hugging Face language models: own continuous batching, on CPU and CUDA."""

import torch

from inference import wire
from inference.engines.base import Setting
from inference.engines.build import Build
from inference.engines.checkpoint import Checkpoint
from inference.engines.token_engine import TokenEngine


class LlmTransformers(TokenEngine):
    def _open(
        self, checkpoint: Checkpoint, spec: wire.ModelSpec, dtype: torch.dtype, setting: Setting
    ) -> None:
        build = Build.of(spec.options, self._device)
        self._prompts = self._vocabulary.prompt_encoder()
        self._decoder = checkpoint.decoder(dtype, self._device, setting.progress, build)


ENGINE = LlmTransformers
