"""Token ids of OpenAI's own vocabularies, which clients send under OpenAI's model names.

LangChain, for one, cuts texts with cl100k_base and sends ids. Under a model's own name ids are its
own; under a name below they are turned into the text that they stand for.
"""

import base64
import binascii
from pathlib import Path

from inference.errors import InvalidValue

ENCODINGS = {
    "text-embedding-ada-002": "cl100k_base",
    "text-embedding-3-small": "cl100k_base",
    "text-embedding-3-large": "cl100k_base",
    "gpt-3.5-turbo": "cl100k_base",
    "gpt-3.5-turbo-instruct": "cl100k_base",
    "gpt-4": "cl100k_base",
    "davinci-002": "cl100k_base",
    "babbage-002": "cl100k_base",
    "gpt-4o": "o200k_base",
    "gpt-4o-mini": "o200k_base",
}
# Source: tiktoken's definitions of the two.
SPECIAL: dict[str, dict[int, bytes]] = {
    "cl100k_base": {
        100257: b"<|endoftext|>",
        100258: b"<|fim_prefix|>",
        100259: b"<|fim_middle|>",
        100260: b"<|fim_suffix|>",
        100276: b"<|endofprompt|>",
    },
    "o200k_base": {199999: b"<|endoftext|>", 200018: b"<|endofprompt|>"},
}


class Vocabulary:
    """Bytes of each token id, from the file ENCODING.tiktoken with lines "base64 rank"."""

    def __init__(self, folder: Path, encoding: str) -> None:
        """Raises: OSError; ValueError when the file is no vocabulary."""
        self._encoding = encoding
        self._tokens: dict[int, bytes] = dict(SPECIAL[encoding])
        file = folder / f"{encoding}.tiktoken"
        for line in file.read_bytes().splitlines():
            token, _, rank = line.partition(b" ")
            try:
                self._tokens[int(rank)] = base64.b64decode(token, validate=True)
            except binascii.Error as error:
                raise ValueError(f"{file.name} is no vocabulary") from error

    def text(self, tokens: list[int], param: str) -> str:
        """Raises: InvalidValue on an id that is not there."""
        try:
            raw = b"".join(self._tokens[token] for token in tokens)
        except KeyError as error:
            message = f"Invalid '{param}': {error.args[0]} is no token id of {self._encoding}."
            raise InvalidValue(message, param=param) from None
        return raw.decode("utf-8", "replace")


def absent(name: str, encoding: str, param: str) -> InvalidValue:
    """Say what to do where the vocabulary is not here."""
    return InvalidValue(
        f"Invalid '{param}': token ids under the name '{name}' are of OpenAI's vocabulary "
        f"{encoding}, which is not installed here; send text, or use the model's own name.",
        param=param,
    )
