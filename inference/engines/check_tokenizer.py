"""Read a stranger's tokenizer.json as an engine would, and say which tokens it gives.

`python -m inference.engines.check_tokenizer FILE`: the last line on stdout is `{"done": {...}}`, or
`{"error": why}`. Called by `preparation`, which limits time and memory.
"""

import json
import sys
from typing import Any

from tokenizers import Tokenizer

from inference.engines import bounds

PROBE = "Hello, w\u00f6rld 1"


def found(file: str) -> dict[str, Any]:
    """Give the highest id of its words, and the added tokens by their ids. Raises: Exception."""
    tokenizer = Tokenizer.from_file(file)
    tokenizer.decode(tokenizer.encode(PROBE).ids)
    words = tokenizer.get_vocab(with_added_tokens=False)
    added = tokenizer.get_added_tokens_decoder()
    apart = [number for word, number in words.items() if number not in added]
    return {
        "words": len({*words.values(), *added}),
        "highest": max(apart, default=-1),
        "added": {str(number): str(token.content)[:100] for number, token in added.items()},
    }


def main() -> int:
    bounds.take()
    told: dict[str, Any]
    try:
        told = {"done": found(sys.argv[1])}
    except Exception as error:  # noqa: BLE001 (the library raises plain exceptions)
        told = {"error": str(error)[:300]}
    sys.stdout.write(json.dumps(told) + "\n")
    return 1 if "error" in told else 0


if __name__ == "__main__":
    sys.exit(main())
