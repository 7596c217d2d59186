"""What a client sees: whole characters, everything up to the first stop string, and nothing more."""

import codecs

from hypothesis import given
from hypothesis import strategies as st

from inference import wire
from inference.engines.text import Piece, TextStream
from inference.engines.vocabulary import Vocabulary

from . import small_tokenizers

TOKENS = st.lists(
    st.one_of(
        st.binary(max_size=4),
        st.sampled_from(["ab", "a", "b", "c", "abc", "é", "🙂", " "]).map(str.encode),
    ),
    max_size=30,
)
STOPS = st.lists(st.text("abcé🙂 ", min_size=1, max_size=4), max_size=3)


def first_stop(text: str, stops: list[str]) -> int | None:
    """Look at the text one character at a time, as somebody who reads it being written."""
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return end - max(map(len, ending))
    return None


def run(tokens: list[bytes], stops: list[str]) -> tuple[list[Piece], int]:
    """Push until stopped; give the pieces and how many tokens were pushed."""
    stream = TextStream(stops)
    pieces: list[Piece] = []
    for at, raw in enumerate(tokens):
        logprob = wire.TokenLogprob(raw.decode(errors="replace"), -float(at), raw)
        piece = stream.push(raw, logprob)
        pieces += [piece] if piece else []
        if stream.stopped:
            return pieces, at + 1
    return [*pieces, stream.finish()], len(tokens)


@given(tokens=TOKENS, stops=STOPS)
def test_it_shows_the_text_cut_at_the_first_stop(tokens: list[bytes], stops: list[str]) -> None:
    pieces, _ = run(tokens, stops)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    full = decoder.decode(b"".join(tokens))  # without what is unfinished at the end
    assert "".join(piece.text for piece in pieces) == full[: first_stop(full, stops)]


@given(tokens=TOKENS, stops=STOPS)
def test_it_never_shows_a_part_of_a_stop_string(tokens: list[bytes], stops: list[str]) -> None:
    pieces, _ = run(tokens, stops)
    final = "".join(piece.text for piece in pieces)
    shown = ""
    for piece in pieces:
        shown += piece.text
        assert final.startswith(shown)


@given(tokens=TOKENS, stops=STOPS)
def test_it_accounts_for_every_token_once(tokens: list[bytes], stops: list[str]) -> None:
    pieces, pushed = run(tokens, stops)
    assert sum(piece.tokens for piece in pieces) == pushed
    given_back = [logprob.logprob for piece in pieces for logprob in piece.logprobs]
    assert given_back == [-float(at) for at in range(len(given_back))]
    if not stops:
        assert len(given_back) == len(tokens)


@given(words=st.lists(st.sampled_from(["ab", "cd", "é", "🙂", "xyz"]), max_size=12))
def test_it_pairs_logprobs_with_their_text(words: list[str]) -> None:
    pieces, _ = run([word.encode() for word in words], ["xy", "z🙂"])
    for piece in pieces[:-1]:
        assert piece.text == "".join(logprob.token for logprob in piece.logprobs)


def test_it_holds_a_split_character_back() -> None:
    first, second = "🙂".encode()[:2], "🙂".encode()[2:]
    stream = TextStream()
    assert stream.push(first, wire.TokenLogprob("\ufffd", -1.0, first)) is None
    piece = stream.push(second, wire.TokenLogprob("\ufffd", -2.0, second))
    assert piece is not None
    assert (piece.text, piece.tokens) == ("🙂", 2)
    assert [logprob.raw for logprob in piece.logprobs] == [first, second]


def test_it_leaves_out_a_character_that_is_cut_short() -> None:
    stream = TextStream()
    stream.push(b"ok", None)
    stream.push("🙂".encode()[:3], wire.TokenLogprob("\ufffd", -1.0, b"x"))
    piece = stream.finish()
    assert (piece.text, piece.tokens, len(piece.logprobs)) == ("", 1, 1)


def test_it_leaves_out_the_logprobs_of_a_stop_string() -> None:
    stream = TextStream(["END"])
    pieces = [stream.push(raw, wire.TokenLogprob("", 0.0, raw)) for raw in (b"ok", b" E", b"ND")]
    assert [piece.text if piece else None for piece in pieces] == ["ok", " ", ""]
    assert [logprob.raw for p in pieces if p for logprob in p.logprobs] == [b"ok", b" E"]
    assert sum(piece.tokens for piece in pieces if piece) == 3


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_it_gives_the_bytes_of_tokens(text: str) -> None:
    """SentencePiece itself writes a space as U+2581 and cannot tell the two apart again."""
    for tokenizer, expected in (
        (small_tokenizers.byte_level(), text),
        (small_tokenizers.byte_fallback(), text.replace("\u2581", " ")),
    ):
        vocabulary = Vocabulary(tokenizer)
        raw = b"".join(map(vocabulary.token_bytes, vocabulary.encode(text, special=False)))
        assert raw.decode() == expected
