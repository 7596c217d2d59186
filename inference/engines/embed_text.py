"""Text embeddings: sentence encoders of transformers in the shared loop."""

import time
from typing import cast

import torch

from inference import wire
from inference.engines import encoder_folder
from inference.engines.base import Setting
from inference.engines.embed_loop import EmbedLoop, Matrix, batch_tokens, check_sound
from inference.engines.embed_queue import Row
from inference.engines.footprint import Footprint
from inference.engines.sentence_encoder import SentenceEncoder
from inference.errors import InvalidValue, UnsupportedModel, UnsupportedParameter


class EmbedText(EmbedLoop):
    def load(self, spec: wire.ModelSpec, setting: Setting) -> wire.Loaded:
        started_s = time.monotonic()
        footprint = Footprint(setting.device)
        torch.set_num_threads(max(1, setting.threads))
        folder = encoder_folder.read(spec.path)
        total_bytes = sum(file.stat().st_size for file in folder.path.glob("*.safetensors"))
        setting.progress(0, total_bytes)
        self._encoder = SentenceEncoder(folder, setting.device, spec.dtype, spec.context_tokens)
        check_sound(self._encoder.vectors(self._encoder.encode(["warm up"])).numpy())
        setting.progress(total_bytes, total_bytes)
        self._start(self._encoder.dimensions, batch_tokens(spec, setting.device))
        return wire.Loaded(
            memory_bytes=footprint.total_bytes,
            weights_bytes=self._encoder.weights_bytes,
            device=setting.device,
            dtype=self._encoder.dtype,
            context_tokens=self._encoder.window_tokens,
            load_s=time.monotonic() - started_s,
            capabilities=["embeddings"],
        )

    def _encode(self, body: wire.Body) -> list[Row]:
        """Raises: UnsupportedModel, InvalidValue, ContextLengthExceeded."""
        if not isinstance(body, wire.Embed):
            raise UnsupportedModel("this model makes embeddings and nothing else")
        if not body.inputs:
            raise InvalidValue("input is empty", param="input")
        words = [item for item in body.inputs if not isinstance(item, wire.Image)]
        if len(words) < len(body.inputs):
            raise UnsupportedParameter("this model embeds text only", param="input")
        return [*self._encoder.encode(words)]

    def _vectors(self, rows: list[Row]) -> Matrix:
        self._most.note(0, 0, len(rows) * max(map(len, rows)))
        vectors: Matrix = self._encoder.vectors(cast("list[list[int]]", rows)).numpy()
        return vectors


ENGINE = EmbedText
