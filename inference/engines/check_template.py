"""Say which chat templates of a model do not compile, and why; they are code of a stranger.

`python -m inference.engines.check_template`: a JSON list of templates on stdin, the last line on stdout
is `{"done": [why or "", ...]}`. Called by `preparation`, which limits time and memory.
"""

import json
import sys

from inference.engines import bounds
from inference.engines.templates import ChatTemplate
from inference.errors import LoadFailed


def problem(source: str) -> str:
    try:
        ChatTemplate(source)
    except LoadFailed as error:
        return error.message
    return ""


def main() -> int:
    bounds.take()
    found = [problem(str(source)) for source in json.load(sys.stdin)]
    sys.stdout.write(json.dumps({"done": found}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
