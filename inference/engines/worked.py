"""The most that an engine did at once since its load: the node learns from it what a peak is worth.

Filled by the batching loop and by what decodes pictures; told with every `Stats`.
"""

from dataclasses import dataclass

from inference import wire


@dataclass(slots=True)
class Most:
    kv_bytes: int = 0
    rows: int = 0
    prompt_tokens: int = 0
    pixels: int = 0

    def note(self, kv_bytes: int, rows: int, prompt_tokens: int) -> None:
        """Note a step."""
        self.kv_bytes = max(self.kv_bytes, kv_bytes)
        self.rows = max(self.rows, rows)
        self.prompt_tokens = max(self.prompt_tokens, prompt_tokens)

    def see(self, pixels: int) -> None:
        """Note a picture."""
        self.pixels = max(self.pixels, pixels)

    def told(self) -> wire.Worked:
        return wire.Worked(
            kv_bytes=self.kv_bytes,
            rows=self.rows,
            prompt_tokens=self.prompt_tokens,
            pixels=self.pixels,
        )
