"""A model's tokenizer as the text engines need it: encoding in both manners, and tokens as bytes.

Read from a local folder in Hugging Face layout; used by the engines that pick tokens themselves.
"""

import json
import threading
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path

import tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from inference.engines import byte_pieces, infilling, templates
from inference.engines.prompts import PromptEncoder
from inference.errors import LoadFailed


class Vocabulary:
    """A tokenizer; safe to use from several threads."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.hf = tokenizer
        self._backend: tokenizers.Tokenizer = tokenizer.backend_tokenizer
        self._lock = threading.Lock()
        self._special = {
            token_id: str(token)
            for token_id, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }
        self._added = {i: str(t) for i, t in tokenizer.added_tokens_decoder.items()}
        self._piece_bytes = _decoder_of(self._backend, self._decode_ids)
        self._raw: dict[int, bytes] = {}

    @classmethod
    def load(cls, folder: Path) -> "Vocabulary":
        """Raises: LoadFailed."""
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_fast=True
            )
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            raise LoadFailed(f"the tokenizer in {folder.name} cannot be read: {error}") from error
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise LoadFailed(f"{folder.name} has no tokenizer.json (a fast tokenizer); add one")
        return cls(tokenizer)

    @property
    def special_texts(self) -> Collection[str]:
        return self._special.values()

    @cached_property
    def tokens(self) -> int:
        """Count of tokens, added ones included."""
        return len(self.hf)

    def encode(self, text: str, special: bool) -> list[int]:
        """Encode without adding anything; `special` turns control tokens' text into their ids."""
        with self._lock:
            self._backend.no_truncation()
            self._backend.encode_special_tokens = not special
            return list(self._backend.encode(text, add_special_tokens=False).ids)

    def token_bytes(self, token: int) -> bytes:
        """Give what a token adds to the text; control tokens add nothing."""
        raw = self._raw.get(token)
        if raw is None:
            raw = self._raw[token] = self._make_bytes(token)
        return raw

    def _make_bytes(self, token: int) -> bytes:
        if token in self._special:
            return b""
        if token in self._added:
            return self._added[token].encode()
        piece = self._backend.id_to_token(token)
        return b"" if piece is None else self._piece_bytes(token, piece)

    def token_text(self, token: int) -> tuple[str, bytes]:
        """Give a token as shown beside a log probability (control tokens by name) and its bytes."""
        if token in self._special:
            return self._special[token], self._special[token].encode()
        raw = self.token_bytes(token)
        return raw.decode(errors="replace"), raw

    def _decode_ids(self, ids: list[int]) -> str:
        with self._lock:
            return str(self._backend.decode(ids, skip_special_tokens=False))

    def prompt_encoder(self) -> PromptEncoder:
        hf = self.hf
        template = hf.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        with self._lock:
            self._backend.encode_special_tokens = False
            prefix = self._backend.encode("", add_special_tokens=True).ids
        start = hf.bos_token_id if hf.bos_token_id is not None else hf.eos_token_id
        return PromptEncoder(
            tokenizer=self,
            vocab_tokens=self.tokens,
            template=templates.compiled(template),
            variables={name: str(text) for name, text in hf.special_tokens_map.items()},
            prefix=[token for token in prefix if token != hf.eos_token_id],
            start=start,
            infill=infilling.find(self._backend.token_to_id),
        )


# --- how a vocabulary writes bytes ----------------------------------------------------------------

PieceBytes = Callable[[int, str], bytes]


def _decoder_of(backend: tokenizers.Tokenizer, decode: Callable[[list[int]], str]) -> PieceBytes:
    decoder = json.loads(backend.to_str()).get("decoder") or {}
    steps = decoder.get("decoders", [decoder])
    kinds = {step.get("type") for step in steps}
    if "ByteLevel" in kinds:
        return _byte_level
    if kinds & {"ByteFallback", "Metaspace"}:
        return _sentence_piece
    return _by_difference(backend, decode)


def _byte_level(_token: int, piece: str) -> bytes:
    return byte_pieces.byte_level(piece)


def _sentence_piece(_token: int, piece: str) -> bytes:
    return byte_pieces.sentence_piece(piece)


def _by_difference(backend: tokenizers.Tokenizer, decode: Callable[[list[int]], str]) -> PieceBytes:
    """For any other decoder: what a token adds behind a plain word."""
    anchor: list[int] = backend.encode("a", add_special_tokens=False).ids

    def piece_bytes(token: int, _piece: str) -> bytes:
        before = decode(anchor)
        return decode([*anchor, token])[len(before) :].encode()

    return piece_bytes
