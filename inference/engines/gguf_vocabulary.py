"""A GGUF file's tokenizer and chat template, as the text engines need them; used by `llm_gguf`."""

from collections.abc import Collection

from inference.engines import byte_pieces, infilling, templates
from inference.engines.gguf_header import GgufHeader
from inference.engines.llama_server import LlamaServer
from inference.engines.prompts import PromptEncoder, wants_parts


class GgufVocabulary:
    """llama.cpp encodes; the header's table says what bytes a token stands for."""

    def __init__(self, header: GgufHeader, server: LlamaServer) -> None:
        self._server = server
        self._tokens = header.tokens
        self._control = header.control_tokens
        self._by_text = {text: token for token, text in self._control.items()}
        self._byte_level = header.metadata.get("tokenizer.ggml.model") == "gpt2"

    @property
    def size(self) -> int:
        return len(self._tokens)

    @property
    def special_texts(self) -> Collection[str]:
        return self._control.values()

    def token_of(self, text: str) -> int | None:
        """Find a control token by its text."""
        return self._by_text.get(text)

    def encode(self, text: str, special: bool) -> list[int]:
        return self._server.tokenize(text, special) if text else []

    def token_bytes(self, token: int) -> bytes:
        """Give what a token adds to the text; control tokens add nothing."""
        if token in self._control:
            return b""
        piece = self._tokens[token]
        return (
            byte_pieces.byte_level(piece) if self._byte_level else byte_pieces.sentence_piece(piece)
        )

    def token_text(self, token: int) -> tuple[str, bytes]:
        """Give a token as shown beside a log probability (control tokens by name) and its bytes."""
        if token in self._control:
            return self._control[token], self._control[token].encode()
        raw = self.token_bytes(token)
        return raw.decode(errors="replace"), raw

    def text_of(self, tokens: list[int]) -> str:
        return b"".join(map(self.token_bytes, tokens)).decode(errors="replace")


def prompt_encoder(header: GgufHeader, vocabulary: GgufVocabulary) -> PromptEncoder:
    metadata = header.metadata
    template = metadata.get("tokenizer.chat_template")
    bos = metadata.get("tokenizer.ggml.bos_token_id")
    eos = metadata.get("tokenizer.ggml.eos_token_id")
    unknown = metadata.get("tokenizer.ggml.unknown_token_id")
    pad = metadata.get("tokenizer.ggml.padding_token_id")
    named = {"bos_token": bos, "eos_token": eos, "unk_token": unknown, "pad_token": pad}
    wants_bos = metadata.get(
        "tokenizer.ggml.add_bos_token", metadata.get("tokenizer.ggml.model") == "llama"
    )
    compiled = templates.compiled(template)
    variables = {name: header.tokens[token] for name, token in named.items() if token is not None}
    return PromptEncoder(
        tokenizer=vocabulary,
        vocab_tokens=vocabulary.size,
        template=compiled,
        variables=variables,
        in_parts=wants_parts(compiled, variables),
        prefix=[bos] if wants_bos and bos is not None else [],
        start=bos if bos is not None else eos,
        infill=infilling.of_gguf(metadata, vocabulary.token_of),
    )
