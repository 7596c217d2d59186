"""What a text holds that should not be learned: secrets, personal data, damage. One warning of a kind a row."""

import re
from collections.abc import Iterator
from typing import Any

from training.datasets.findings import Defect

# Formats that their makers publish; a plain word "password" would find prose.
SECRETS = {
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "an OpenAI key": re.compile(r"\bsk-(?:proj-|svcacct-)?[A-Za-z0-9_-]{20,}"),
    "a key of this hub": re.compile(r"\bhub_[A-Za-z0-9]{6,}_?[A-Za-z0-9_-]{20,}"),
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30,}\b"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{22,})\b"),
    "a Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "a Google key": re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "a signed token": re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}"),
    "a password": re.compile(r"(?i)\b(?:password|passwd|secret)\s*[:=]\s*['\"]?[^\s'\"]{8,}"),
}
EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+\b")
PHONE = re.compile(r"(?<![\w.])\+\d{1,3}[ (.-]{0,2}\d{2,4}(?:[ ).-]{1,2}\d{2,4}){2,4}(?![\w])")
CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]")
EXAMPLE_HOSTS = ("example.com", "example.org", "example.net", ".example", ".test", ".invalid")


def texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Give every text of a row with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, part in value.items():
            if name not in {"role", "type", "tool_call_id"}:
                yield from texts(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from texts(part, f"{path}[{at}]")


def check(row: Any) -> Iterator[Defect]:
    """The first of each kind in this row; what was found is named, not repeated."""
    told: set[str] = set()
    for path, text in texts(row):
        for defect in _found(text, path):
            if defect.code not in told:
                told.add(defect.code)
                yield defect


def _found(text: str, path: str) -> Iterator[Defect]:
    for name, pattern in SECRETS.items():
        if pattern.search(text):
            yield Defect("secret", f"{path} holds what looks like {name}.", path)
            break
    if (what := personal(text)) is not None:
        yield Defect("personal_data", f"{path} holds {what}.", path)
    if CONTROL.search(text):
        yield Defect("control_character", f"{path} holds control characters.", path)
    if "\ufffd" in text:
        yield Defect(
            "replacement_character", f"{path} holds the sign for a damaged character.", path
        )


def personal(text: str) -> str | None:
    """Name the first kind of personal data in a text."""
    if any(not found.endswith(EXAMPLE_HOSTS) for found in EMAIL.findall(text)):
        return "an e-mail address"
    if any(_is_card(re.sub(r"\D", "", found)) for found in CARD.findall(text)):
        return "a card number"
    if any(_is_iban(found.replace(" ", "")) for found in IBAN.findall(text)):
        return "a bank account"
    return "a phone number" if PHONE.search(text) else None


def _is_card(digits: str) -> bool:
    """Source: ISO/IEC 7812-1, the Luhn check digit."""
    if digits[0] not in "3456" or len(set(digits)) < 3:
        return False
    doubled = [int(d) * (2 if at % 2 else 1) for at, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _is_iban(text: str) -> bool:
    """Source: ISO 13616, modulo 97."""
    turned = text[4:] + text[:4]
    return int("".join(str(int(char, 36)) for char in turned)) % 97 == 1
