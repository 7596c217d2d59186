"""Small real tokenizers, trained in a blink, of the kinds that models use."""

import json
from functools import cache

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

TEXT = [
    "the quick brown fox jumps over the lazy dog and says hello to the world",
    "xin chào thế giới, tôi là một mô hình ngôn ngữ nhỏ",
    "user assistant system message end start of turn 0 1 2 3 4 5 6 7 8 9",
]
CHATML = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def _finish(backend: Tokenizer, template: str | None) -> PreTrainedTokenizerFast:
    backend.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        chat_template=template,
    )


@cache
def byte_level(template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """A byte-level BPE like SmolLM2's and GPT-2's."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXT, trainer)
    return _finish(backend, template)


@cache
def byte_fallback(template: str | None = CHATML) -> PreTrainedTokenizerFast:
    """A BPE with SentencePiece's spaces and byte fallback, like Llama 2's and Mistral's."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    pieces = ["<unk>", *SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=pieces, show_progress=False)
    backend.train_from_iterator([text.replace(" ", "\u2581") for text in TEXT], trainer)
    state = backend.to_str()
    trained = Tokenizer.from_str(_plain_bytes(state))
    return _finish(trained, template)


def _plain_bytes(state: str) -> str:
    """Make the byte tokens plain pieces again: the trainer knows them as special tokens only."""
    fields = json.loads(state)
    fields["added_tokens"] = [
        token for token in fields["added_tokens"] if not token["content"].startswith("<0x")
    ]
    return json.dumps(fields)
