"""Numbers as one reads them, in every table, sentence and figure: signs, intervals, p values."""

import numpy as np

WIDTH = 110
"""Columns of a job log."""
SIGNIFICANT = 0.05
DASH = "—"
"""Where there is no figure."""


def signed(value: float, decimals: int) -> str:
    """+1.23 or −1.23, and 0.00 without a sign; "n/a" where nothing is known."""
    if not np.isfinite(value):
        return "n/a"
    text = f"{value:+.{decimals}f}"
    return (text if float(text) else text[1:]).replace("-", "−")


def bracketed(low: float, high: float, decimals: int, sign: bool = True) -> str:
    """[low, high], or words where a single image leaves no interval."""
    if not np.isfinite([low, high]).all():
        return "[no interval]"
    return (
        f"[{signed(low, decimals)}, {signed(high, decimals)}]" if sign else f"[{low:.{decimals}f}, {high:.{decimals}f}]"
    )


def p_text(p: float) -> str:
    """A p value as one reads it; empty where there is none."""
    return "" if not np.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def equals(p: float) -> str:
    """A p value after the letter p in a sentence."""
    return p_text(p) if p < 0.001 else f"= {p_text(p) or 'n/a'}"


def cut(text: str, width: int) -> str:
    """The text, or its beginning and an ellipsis where it is longer than `width`."""
    return text if len(text) <= width else text[: width - 1] + "…"
