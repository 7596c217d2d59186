"""Turns token ids sent under one of OpenAI's names into text, where their vocabulary is here."""

import asyncio
from functools import cache

from django.conf import settings

from inference.catalog import Resolved
from inference.openai import foreign_tokens
from inference.openai.foreign_tokens import Vocabulary

FOLDER = "openai-vocabularies"  # a starter's


@cache
def _vocabulary(encoding: str) -> Vocabulary:
    return Vocabulary(settings.HUB_MODELS / FOLDER, encoding)


async def texts(resolved: Resolved, ids: list[list[int]], param: str) -> list[str] | None:
    """Give the texts, or None where ids are of the model's own vocabulary.

    Raises: InvalidValue.
    """
    encoding = foreign_tokens.ENCODINGS.get(resolved.name)
    if encoding is None or resolved.name == resolved.model:
        return None
    try:
        vocabulary = await asyncio.to_thread(_vocabulary, encoding)
    except (OSError, ValueError):
        raise foreign_tokens.absent(resolved.name, encoding, param) from None
    return [vocabulary.text(tokens, param) for tokens in ids]
