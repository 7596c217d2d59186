"""Image-text embeddings and zero-shot classification, in the shared loop of the embedding engines."""

import time
from pathlib import Path

import numpy as np
import torch

from inference import wire
from inference.engines.base import Setting
from inference.engines.clip_encoder import ClipEncoder, Picture
from inference.engines.clip_hf import HfClip
from inference.engines.clip_open import CONFIG, OpenClip
from inference.engines.embed_loop import EmbedLoop, Matrix, Running, batch_tokens, pack
from inference.engines.embed_queue import Item, Row, cut_batches
from inference.engines.footprint import Footprint
from inference.errors import InvalidValue, LoadFailed, UnsupportedModel, UnsupportedParameter


class EmbedClip(EmbedLoop):
    _encoder: ClipEncoder

    def load(self, spec: wire.ModelSpec, setting: Setting) -> wire.Loaded:
        started_s = time.monotonic()
        footprint = Footprint(setting.device)
        torch.set_num_threads(max(1, setting.threads))
        folder = Path(spec.path)
        total_bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        setting.progress(0, total_bytes)
        self._encoder = _open(folder)(folder, setting.device, spec.dtype)
        setting.progress(total_bytes, total_bytes)
        self._start(self._encoder.dimensions, batch_tokens(spec, setting.device))
        return wire.Loaded(
            memory_bytes=footprint.total_bytes,
            weights_bytes=self._encoder.weights_bytes,
            device=setting.device,
            dtype=str(self._encoder.dtype).removeprefix("torch."),
            context_tokens=self._encoder.window_tokens,
            load_s=time.monotonic() - started_s,
            capabilities=["embeddings", "images", "classify"],
        )

    def _encode(self, body: wire.Body) -> list[Row]:
        """Raises: UnsupportedModel, UnsupportedParameter, InvalidValue, ContextLengthExceeded."""
        match body:
            case wire.Embed(inputs=inputs) | wire.Classify(inputs=inputs) if not inputs:
                raise InvalidValue("input is empty", param="input")
            case wire.Embed(inputs=inputs):
                return [self._row(item, at) for at, item in enumerate(inputs)]
            case wire.Classify(inputs=inputs, labels=labels, template=template):
                named = [template.replace("{}", label) for label in labels]
                rows = [self._row(item, at) for at, item in enumerate(inputs)]
                return [*rows, *(self._encoder.text(t, at, "labels") for at, t in enumerate(named))]
        raise UnsupportedModel("this model makes image and text embeddings and nothing else")

    def _row(self, item: str | list[int] | wire.Image, number: int) -> Row:
        if isinstance(item, wire.Image):
            return self._encoder.picture(item)
        if isinstance(item, str):
            return self._encoder.text(item, number, "input")
        raise UnsupportedParameter("this model takes texts and images, no token ids", param="input")

    def _ready(self, item: Item) -> None:
        """Decode late: the pixels of what still waits take no memory."""
        row = item.row
        if isinstance(row, Picture):
            self._encoder.decode(row)

    def _cut(self, window: list[Item]) -> list[list[Item]]:
        """Images and texts go through different towers."""
        seen = [item for item in window if isinstance(item.row, Picture)]
        read = [item for item in window if not isinstance(item.row, Picture)]
        cut = (cut_batches(items, self._batch_tokens) for items in (read, seen))
        return [batch for batches in cut for batch in batches]

    def _vectors(self, rows: list[Row]) -> Matrix:
        vectors = self._encoder.vectors(rows)
        for row in rows:
            if isinstance(row, Picture):
                row.pixels = None
        return vectors

    def _pack(self, running: Running) -> wire.Vectors:
        whole = pack(running, self._dimensions)
        body = running.job.body
        if not isinstance(body, wire.Classify):
            return whole
        matrix = np.frombuffer(whole.data, "<f4").reshape(whole.rows, whole.dimensions)
        inputs, labels = np.split(matrix, [len(body.inputs)])
        told = self._encoder.probabilities(inputs, labels).astype("<f4")
        return wire.Vectors(rows=len(inputs), dimensions=len(labels), data=told.tobytes())


def _open(folder: Path) -> type[HfClip] | type[OpenClip]:
    """Choose by layout; a folder that has both needs no torchvision. Raises: LoadFailed."""
    if (folder / "config.json").is_file() and (folder / "model.safetensors").is_file():
        return HfClip
    if (folder / CONFIG).is_file():
        return OpenClip
    if list(folder.glob("model-*-of-*.safetensors")):
        return HfClip
    raise LoadFailed(f"{folder.name} has neither config.json with model.safetensors nor {CONFIG}")


ENGINE = EmbedClip
