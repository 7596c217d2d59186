"""Language models that see: an image's tokens are vectors which the model's own vision tower makes.

In a prompt each of them is a number of its own beyond every vocabulary, the same for the same image,
so that batching, kept prefixes and context checks need to know nothing of images.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from inference.engines.decoder import FIRST_IMAGE, Places, Prefill, image_end
from inference.engines.hf_decoder import HfDecoder, close
from inference.engines.kv_cache import Stage
from inference.errors import LoadFailed

BOTH_WAYS = frozenset({"gemma3"})  # an image's tokens see each other, and those before it
POSITIONS = 1 << 20  # numbers of one image
POSITION_DIMENSIONS = 3  # time, height and width; rows; tokens


@dataclass(eq=False)
class Seen:
    """One image as the language model takes it; lives as long as somebody holds it."""

    number: int
    vectors: Tensor  # (tokens, hidden)
    places: Tensor | None = None  # (3, tokens) from 0 on, where an image has positions of its own
    deep: Sequence[Tensor] = ()  # (tokens, hidden) each: what is added behind the first layers
    sides: Tensor | None = None  # (tokens,): 1 where they see each other both ways

    @property
    def tokens(self) -> range:
        begin = FIRST_IMAGE + self.number * POSITIONS
        return range(begin, begin + len(self.vectors))

    @property
    def nbytes(self) -> int:
        return self.vectors.nbytes + sum(each.nbytes for each in self.deep)


class _Reached(BaseException):
    """Carries what the language part is given out of a forward that need not go on.

    No model code catches it.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given


class VisionDecoder(HfDecoder):
    def __init__(self, model: Any) -> None:
        """Raises: LoadFailed."""
        self._looking = threading.local()
        self._seen: WeakValueDictionary[int, Seen] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._next = 0
        super().__init__(model)
        self.whole_images = model.config.model_type in BOTH_WAYS
        self._embed = model.get_input_embeddings()
        model.get_decoder().register_forward_pre_hook(self._before_language, with_kwargs=True)

    # --- looking: on the thread that encodes prompts ----------------------------------------------

    @torch.inference_mode()
    def look(self, inputs: Mapping[str, Tensor]) -> Seen:
        """Compute an image's vectors from what its processor gave (ids, pixels ...)."""
        given = {name: self._placed(value) for name, value in inputs.items()}
        self._looking.active = True
        try:
            self._model(**given, use_cache=False, return_dict=True)
        except _Reached as reached:
            return self._remember(reached.given, inputs.get("token_type_ids"))
        finally:
            self._looking.active = False
        raise LoadFailed("the model gave its language part no vectors")

    def _before_language(self, _module: Any, args: Any, given: dict[str, Any]) -> Any:
        if getattr(self._looking, "active", False):
            raise _Reached(given)
        deep = getattr(self._looking, "deep", None)
        self._looking.deep = None
        return (args, {**given, **deep}) if deep else None

    def _remember(self, given: dict[str, Any], sides: Tensor | None) -> Seen:
        at = given.get("position_ids")
        own = at[-3:, 0].clone() if at is not None and at.ndim == POSITION_DIMENSIONS else None
        deep = [each.clone() for each in given.get("deepstack_visual_embeds") or ()]
        with self._lock:
            vectors = given["inputs_embeds"][0].clone()
            seen = Seen(self._next, vectors, own, deep, None if sides is None else sides[0])
            self._seen[self._next] = seen
            self._next += 1
        return seen

    def _placed(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        moved = value.to(self._device)
        return moved.to(self._model.dtype) if moved.is_floating_point() else moved

    # --- computing --------------------------------------------------------------------------------

    def _inputs(self, tokens: Sequence[int], past: int) -> dict[str, Tensor]:
        if max(tokens) < FIRST_IMAGE:
            return super()._inputs(tokens, past)
        words = [token if token < FIRST_IMAGE else 0 for token in tokens]
        vectors = self._embed(torch.tensor([words], device=self._device))
        at = 0
        while at < len(tokens):
            if tokens[at] < FIRST_IMAGE:
                at += 1
                continue
            piece = self._piece(tokens, at)
            vectors[0, at : at + len(piece)] = piece
            at += len(piece)
        self._looking.deep = self._deep(tokens)
        more = {"token_type_ids": self._sides(tokens, past)} if self.whole_images else {}
        return {"inputs_embeds": vectors, **more}

    def _sides(self, tokens: Sequence[int], past: int) -> Tensor:
        """Give (1, past + tokens): 1 for tokens of these images that see each other; those before are done."""
        sides = torch.zeros((1, past + len(tokens)), dtype=torch.long, device=self._device)
        for at, token in enumerate(tokens, past):
            if token >= FIRST_IMAGE:
                number, position = divmod(token - FIRST_IMAGE, POSITIONS)
                with self._lock:
                    kept = self._seen[number].sides
                sides[0, at] = 0 if kept is None else kept[position]
        return sides

    def _piece(self, tokens: Sequence[int], at: int) -> Tensor:
        """Give the vectors of one image from here to its end, or to the end of these tokens."""
        number, position = divmod(tokens[at] - FIRST_IMAGE, POSITIONS)
        with self._lock:
            vectors = self._seen[number].vectors
        return vectors[position : position + len(tokens) - at]

    def _deep(self, tokens: Sequence[int]) -> dict[str, Any] | None:
        """Give what models of the kind of Qwen3-VL add to the tokens of images in their first layers."""
        seen = [divmod(token - FIRST_IMAGE, POSITIONS) for token in tokens if token >= FIRST_IMAGE]
        with self._lock:
            found = [(self._seen[number].deep, position) for number, position in seen]
        if not found[0][0]:
            return None
        layers = range(len(found[0][0]))
        mask = torch.tensor([[token >= FIRST_IMAGE for token in tokens]], device=self._device)
        added = [torch.stack([deep[layer][at] for deep, at in found]) for layer in layers]
        return {"visual_pos_masks": mask, "deepstack_visual_embeds": added}

    def places(self, prompt: Sequence[int]) -> Places | None:
        if max(prompt) < FIRST_IMAGE:
            return None
        parts: list[Tensor] = []
        own, at, begin = False, 0, 0  # a token's index, and its position
        while at < len(prompt):
            image = self._places_of(prompt[at])
            part = torch.zeros(3, 1, dtype=torch.long) if image is None else image.cpu()
            own = own or image is not None
            parts.append(part + begin)
            at, begin = at + part.shape[1], begin + int(part.max()) + 1
        return Places(torch.cat(parts, 1), begin - len(prompt)) if own else None

    def _places_of(self, token: int) -> Tensor | None:
        """Give the places of the image that begins here."""
        if token < FIRST_IMAGE:
            return None
        with self._lock:
            return self._seen[(token - FIRST_IMAGE) // POSITIONS].places

    # --- what the model is like -------------------------------------------------------------------

    @torch.inference_mode()
    def check_image(self, inputs: Mapping[str, Tensor]) -> None:
        """Compare an image in our tables, in two pieces, with the model's own forward.

        Raises: LoadFailed for models whose positions or attention treat images in another way.
        """
        given = {name: self._placed(value) for name, value in inputs.items()}
        ids = given["input_ids"]
        tail = torch.tensor([[5, 3]], device=self._device) % self.vocab_tokens
        given["input_ids"] = torch.cat((ids, tail), 1)
        rest = {name: value for name, value in given.items() if name in _PER_TOKEN}
        for name, value in rest.items():
            more = torch.ones_like(tail) if name == "attention_mask" else torch.zeros_like(tail)
            given[name] = torch.cat((value, more.to(value.dtype)), 1)
        expected = self._model(**given, use_cache=False, return_dict=True).logits[0, -1]
        seen = self.look(inputs)
        tokens = [*seen.tokens, *tail[0].tolist()]
        if not close(self._in_pieces(tokens), expected[None], self.layout.dtype):
            kind = self._model.config.model_type
            raise LoadFailed(
                f"models of type {kind} place or attend to images in a way that this engine does "
                "not serve truthfully"
            )

    def _in_pieces(self, tokens: Sequence[int]) -> Tensor:
        stage = Stage(self.layout, len(tokens))
        half, found = len(tokens) // 2, self.places(tokens)
        half = image_end(tokens, half) if self.whole_images else half
        first, last = (
            None if found is None else found.of(start, count)
            for start, count in ((0, half), (half, len(tokens) - half))
        )
        self.step([], [Prefill(stage, tokens[:half], 0, 1, places=first)])
        return self.step([], [Prefill(stage, tokens[half:], half, 1, places=last)])


_PER_TOKEN = frozenset({"attention_mask", "token_type_ids", "mm_token_type_ids"})
