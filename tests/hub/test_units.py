"""Numbers are short, with their unit, and say what they mean."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.dashboard import units


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (98_000_000, "98.0 MB"), (24e9, "24.0 GB"),
     (999_600, "1.00 MB"), (None, units.UNKNOWN)],
)  # fmt: skip
def test_it_writes_bytes(value: float | None, text: str) -> None:
    assert units.human_bytes(value) == text


@given(st.floats(0, 1e17))
def test_it_never_writes_more_than_three_digits_and_a_dot(value: float) -> None:
    number = units.human_bytes(value).split()[0]
    assert len(number.replace(".", "")) <= 3 or value >= 999.5e15
    assert float(number) >= 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.4, "0.4 s"), (12.3, "12 s"), (120, "2 min"), (7200, "2 h"), (259_200, "3 d")],
)
def test_it_writes_durations(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "just now"), (61, "1 min ago"), (3599, "59 min ago"), (7200, "2 h ago")],
)
def test_it_writes_ages_that_change_once_a_minute(seconds: float, text: str) -> None:
    assert units.ago(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(950, "950"), (9500, "9\u202f500"), (12_300, "12.3k"), (4.56e6, "4.56M")]
)
def test_it_writes_counts(value: float, text: str) -> None:
    assert units.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.00"), (1234.5, "1\u202f234.50"), (0.012, "0.012"), (1.3e-6, "0.0000013"),
     (4e-8, "< 0.000001")],
)  # fmt: skip
def test_it_writes_money_as_people_read_it(value: float, text: str) -> None:
    assert units.money(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("0.100000", "0.10"), ("1.500000", "1.50"), ("6.000000", "6.00"), ("0.000123", "0.000123"),
     ("1000.000000", "1000.00"), ("0", "0.00")],
)  # fmt: skip
def test_it_writes_prices_without_idle_zeros(value: str, text: str) -> None:
    assert units.price(Decimal(value)) == text
