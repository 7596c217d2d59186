"""How a vocabulary writes bytes as text, and back; pure, light enough for every engine."""


def byte_level(piece: str) -> bytes:
    """Source: GPT-2's byte-level BPE; a piece with other characters is plain text."""
    if all(char in BYTE_OF for char in piece):
        return bytes(BYTE_OF[char] for char in piece)
    return piece.encode()


def sentence_piece(piece: str) -> bytes:
    """Source: SentencePiece: U+2581 is a space, `<0xFF>` a byte."""
    if len(piece) == len("<0xFF>") and piece.startswith("<0x") and piece.endswith(">"):
        return bytes([int(piece[3:5], 16)])
    return piece.replace("\u2581", " ").encode()


def _make_byte_table() -> dict[str, int]:
    """Printable bytes stand for themselves, the others are U+0100 and on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in plain}
    others = (byte for byte in range(0x100) if byte not in set(plain))
    table.update({chr(0x100 + at): byte for at, byte in enumerate(others)})
    return table


BYTE_OF = _make_byte_table()
