"""Every text of the dashboard has its Vietnamese, and the compiled file is the written one."""

import ast
import gettext
import re
from pathlib import Path

from hub.dashboard import audit_words

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "locale" / "vi" / "LC_MESSAGES"
ENTRY = re.compile(
    r'(?:msgctxt (?P<context>".*")\n)?msgid (?P<id>(?:".*"\n)+)'
    r'(?:msgid_plural (?P<plural>(?:".*"\n)+))?msgstr(?:\[0\])? (?P<text>(?:".*"\n?)+)'
)
TRANSLATE = re.compile(r"""{% translate "((?:[^"\\]|\\.)*)" """)


def text_of(quoted: str) -> str:
    return "".join(ast.literal_eval(part) for part in quoted.strip().splitlines())


def written() -> dict[tuple[str | None, str], str]:
    source = (FOLDER / "django.po").read_text()
    entries = [match.groupdict() for match in ENTRY.finditer(source)]
    return {
        (text_of(e["context"]) if e["context"] else None, text_of(e["id"])): text_of(e["text"])
        for e in entries
        if text_of(e["id"])
    }


def test_it_compiles_what_is_written() -> None:
    with (FOLDER / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for (context, source), text in written().items():
        found = compiled.pgettext(context, source) if context else compiled.gettext(source)
        plural = compiled.ngettext(source, source, 2)
        assert text in {found, plural}, source


def test_it_translates_every_text_of_the_templates() -> None:
    known = {source for _context, source in written()}
    for file in (ROOT / "templates").rglob("*.html"):
        for source in TRANSLATE.findall(file.read_text()):
            assert source.replace('\\"', '"') in known, f"{file.name}: {source}"


def test_it_keeps_every_placeholder() -> None:
    names = re.compile(r"%\((\w+)\)[sd]")
    for (_context, source), text in written().items():
        assert set(names.findall(source)) == set(names.findall(text)), source


def test_every_row_of_the_audit_log_has_words() -> None:
    recorded = re.compile(r'audit\.record\(\s*"(\w+)(\.[\w.]+)"')
    for room in ("accounts", "inference", "training", "hub"):
        for file in (ROOT / room).rglob("*.py"):
            for family, verb in recorded.findall(file.read_text()):
                assert family + verb in audit_words.ACTIONS, file
                assert family in audit_words.FAMILIES, file
