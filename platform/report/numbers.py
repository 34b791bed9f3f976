"""Numbers as one reads them, in every table, sentence and figure: signs, intervals, p values."""

import numpy as np

WIDTH = 110
"""Columns of a job log."""
SIGNIFICANT = 0.05
DASH = "—"
"""Where nothing is known."""


def fixed(value: float, decimals: int, sign: bool = False) -> str:
    """1,234.5 or −0.25, with `sign` +0.25 too; zero has none. A dash where nothing is known."""
    if not np.isfinite(value):
        return DASH
    value = round(float(value), decimals) + 0.0  # −0 becomes 0
    return f"{value:{'+' if sign and value else ''},.{decimals}f}".replace("-", "−")


def signed(value: float, decimals: int) -> str:
    """+1.23 or −1.23, and 0.00 without a sign."""
    return fixed(value, decimals, sign=True)


def bracketed(low: float, high: float, decimals: int, sign: bool = True) -> str:
    """[low, high], or words where a single image leaves no interval."""
    if not np.isfinite([low, high]).all():
        return "[no interval]"
    return f"[{fixed(low, decimals, sign)}, {fixed(high, decimals, sign)}]"


def p_text(p: float) -> str:
    """A p value as one reads it."""
    return DASH if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def equals(p: float) -> str:
    """A p value after the letter p in a sentence."""
    return p_text(p) if p < 0.001 else f"= {p_text(p)}"


def cut(text: str, width: int) -> str:
    """The text, or its beginning and an ellipsis where it is longer than `width`."""
    return text if len(text) <= width else text[: width - 1] + "…"
