"""What an engine takes only while it computes, part by part, and how much of it was seen. Pure; used by `memory`.

A formula says what a full step takes. A measured peak holds as much of each part as was done at once: only
the rest of it is still guessed.
"""

from dataclasses import dataclass

from inference import wire

PROMPT_TOKENS, ANSWER_ROWS = 512, 64  # that llm_transformers computes at once
PICTURE_PIXELS = 24_000_000  # Source: inference/images.py
NOTHING = wire.Worked()


@dataclass(frozen=True, slots=True)
class Step:
    """Bytes by what takes them; `full` is how much of each is planned for."""

    loop: int = 0  # whatever is asked
    prompts: int = 0
    masks: int = 0  # grows with the square of a prompt
    rows: int = 0
    tables: int = 0  # grows with keys and values
    pictures: int = 0
    full: wire.Worked = NOTHING

    @property
    def bytes(self) -> int:
        return self.loop + self.prompts + self.masks + self.rows + self.tables + self.pictures

    def left(self, worked: wire.Worked) -> int:
        """Give what a peak that was measured over this work does not hold yet."""
        if not worked.prompt_tokens:
            return self.bytes
        full = self.full
        done = ((worked.prompt_tokens, full.prompt_tokens), (worked.rows, full.rows))
        used = max(share(seen, most) if most else 0.0 for seen, most in done)
        parts = (
            (self.prompts, worked.prompt_tokens, full.prompt_tokens),
            (self.masks, worked.prompt_tokens**2, full.prompt_tokens**2),
            (self.rows, worked.rows, full.rows),
            (self.tables, worked.kv_bytes, full.kv_bytes),
            (self.pictures, worked.pixels, full.pixels),
        )
        rest = sum(int(size * (1 - share(done, most))) for size, done, most in parts)
        return int(self.loop * (1 - used)) + rest


NO_STEP = Step()


def share(done: int, full: int) -> float:
    return min(1.0, done / full) if full else 1.0
