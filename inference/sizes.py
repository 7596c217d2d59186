"""Bytes as people read them: in the reasons that node, engines and trainings give, and on every page."""

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def text(n_bytes: float) -> str:
    """Give decimal units with three digits: 105 MB, 1.35 GB."""
    amount, unit = float(n_bytes), 0
    while abs(amount) >= 999.5 and unit < len(UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{digits(amount) if unit else f'{amount:.0f}'} {UNITS[unit]}"


def digits(amount: float) -> str:
    """Give three significant digits."""
    if abs(amount) >= 99.95:
        return f"{amount:.0f}"
    return f"{amount:.1f}" if abs(amount) >= 9.995 else f"{amount:.2f}"
