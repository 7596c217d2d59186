"""Cells of CSV files: what a spreadsheet would take for a formula is made plain text."""

import datetime as dt

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def cell(value: object) -> object:
    """Give what stands in the file; numbers stay numbers, text that begins like a formula gets a '."""
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, str) and value.lstrip(" ").startswith(STARTS):
        return f"'{value}"
    return value
