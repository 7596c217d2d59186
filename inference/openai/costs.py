"""What a request may cost at most, before an engine has counted: limits reserve it.

Built by the parsers of requests; pure. A tokenizer's bound: one token a byte, and what templates add.
"""

import unicodedata

import msgspec

REQUEST_TOKENS = 64  # a template's own words: its usual system prompt, the head of the answer
MESSAGE_TOKENS = 16  # marks around a message or an input
IMAGE_TOKENS = 4096  # of one image in a chat; most models take 64 to 2,900
VECTOR_IMAGE_TOKENS = 1024  # of one image that becomes a vector
OPEN_TOKENS = 32_768  # of an answer without max_tokens, where the context is not known
BYTES_A_TOKEN = 4  # of usual text: a prompt of fewer tokens is rare


class Cost(msgspec.Struct, frozen=True):
    """`answer`: tokens of each choice; None: as many as there is room for."""

    prompt: int
    prompts: int = 0  # that each have a context of their own; 0: what holds them is not known
    choices: int = 0
    answer: int | None = 0
    usual: int | None = None  # what such a prompt costs at least; None: a quarter of the bound
    context: int = 0  # 0: not known
    strict: bool = False  # nobody ends the answer where the reserved tokens end

    def plus(self, tokens: int) -> "Cost":
        """Add so many to each prompt."""
        return msgspec.structs.replace(self, prompt=self.prompt + self.prompts * tokens)

    def within(self, context: int) -> "Cost":
        """Take in that nothing longer than a context is served; 0: not known."""
        if not (context and self.prompts):
            return self
        prompt = min(self.prompt, self.prompts * context)
        return msgspec.structs.replace(self, prompt=prompt, context=context)

    @property
    def tokens(self) -> int:
        """What has to be reserved."""
        return self.prompt + self._answers

    @property
    def least(self) -> int:
        """What it may come to at least, where one engine counts all of it while it serves."""
        if self.usual is not None and not self.strict:
            return self.usual
        if self.prompts != 1 or not self.choices or self.strict:
            return self.tokens
        return self.prompt // BYTES_A_TOKEN + self._answers

    @property
    def most(self) -> int:
        """What it may come to."""
        if self.answer is not None:
            return self.tokens
        return max(self.tokens, self.choices * (self.context or self.prompt + OPEN_TOKENS))

    def room(self, reserved: int) -> int | None:
        """Give the length to hold each choice to, the prompt at its bound; None: all was reserved."""
        if self.answer is not None or reserved >= self.most:
            return None
        return max(1, (reserved - self.prompt) // self.choices)

    @property
    def _answers(self) -> int:
        return self.choices * (1 if self.answer is None else self.answer)


def of_text(text: str) -> int:
    """Give what no tokenizer exceeds; some write compatible characters out first."""
    if text.isascii():
        return len(text)
    written_out = unicodedata.normalize("NFKC", text)
    return max(len(form.encode("utf-8", "surrogatepass")) for form in (text, written_out))


def of_input(text: str) -> int:
    return of_text(text) + MESSAGE_TOKENS


def rounded_up(text: str) -> int:
    """Guess the tokens of a text."""
    return -(-len(text) // BYTES_A_TOKEN)
