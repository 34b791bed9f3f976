"""One table for people, in every form: HTML for a page, aligned text for a log, Markdown, CSV."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import pandas as pd
from markupsafe import Markup

from deepblur.platform.report.numbers import WIDTH, bracketed, cut, fixed
from deepblur.platform.report.template import filled
from deepblur.platform.system.printable import markdown, printable

Cell = str | float | tuple[float, float, float]
"""Words or a number written out; a number; a mean with the ends of its interval."""


@dataclass(frozen=True)
class Column:
    """One column, and how its cells are written."""

    heading: str
    decimals: int | None = None
    """Of its numbers, which stand below each other; None: a column of words."""
    sign: bool = False
    """Whether what is above zero has a plus."""
    interval: bool = False
    form: Callable[[Any], str] | None = None
    """Writes a value where decimals do not say how."""
    wrap: bool = False
    """Whether a page may break the words of a cell into lines."""
    group: bool = False
    """Said once for the rows that share it: in a log as a heading above them."""
    least: int | None = None
    """Characters down to which a log may cut its cells; None: it never does."""

    @property
    def words(self) -> bool:
        return self.decimals is None

    def texts(self, value: Any) -> tuple[str, ...]:
        """(text,), or for an interval (mean, its bounds)."""
        if self.form is not None:
            return (self.form(value),)
        if isinstance(value, tuple):
            mean, low, high = value
            known = bool(mean == mean)
            bounds = bracketed(low, high, self.decimals or 0, self.sign) if known else ""
            return fixed(mean, self.decimals or 0, self.sign), bounds
        return (value if isinstance(value, str) else fixed(value, self.decimals or 0, self.sign),)


class Row(NamedTuple):
    cells: Sequence[Cell]
    rule: bool = False
    """Whether a line is drawn above it."""
    bold: bool = False


@dataclass(frozen=True)
class Table:
    columns: Sequence[Column]
    rows: Sequence[Row]
    caption: str = ""
    kind: ClassVar = "table"

    @classmethod
    def of(
        cls, frame: pd.DataFrame, columns: Mapping[str, Column], caption: str = "", *, rule: str = "",
        bold: Sequence[bool] | pd.Series | None = None,
    ) -> "Table":  # fmt: skip
        """A row per row of a frame.

        Args:
            columns: name in the frame → column; the ends of an interval are NAME_low and NAME_high.
            rule: a line is drawn wherever this column of the frame changes.
            bold: whether each row is.
        """
        records = frame.to_dict("records")
        rules = [False, *(a[rule] != b[rule] for a, b in pairwise(records))] if rule else [False] * len(records)
        bolds = [False] * len(records) if bold is None else list(map(bool, bold))
        rows = [
            Row([_cell(record, name, column) for name, column in columns.items()], ruled, heavy)
            for record, ruled, heavy in zip(records, rules, bolds, strict=True)
        ]
        return cls(tuple(columns.values()), rows, caption)

    def html(self) -> Markup:
        return filled("table", self)

    def page_rows(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """For the page's template: classes of each row, and classes and text of each of its cells."""
        before: list[Cell] | None = None
        for row in self.rows:
            over = [value for value, column in zip(row.cells, self.columns, strict=True) if column.group]
            opens, before = bool(over) and over != before, over
            cells = []
            for value, column in zip(row.cells, self.columns, strict=True):
                texts = column.texts(value) if opens or not column.group else ("",)
                kind = ("words" if column.wrap else "") if column.words else "n"
                cells += [(kind if i == 0 else "n i", text) for i, text in enumerate(texts)]
            yield " ".join(["first"] * (row.rule or opens) + ["lead"] * row.bold), cells

    def text(self, width: int = WIDTH) -> str:
        """Aligned lines; wider than `width` only where no column may be cut further."""
        return "\n".join(self._lines(width))

    def fits(self, width: int = WIDTH) -> bool:
        return max(map(len, self._lines(width))) <= width

    def _lines(self, width: int) -> list[str]:
        groups = [i for i, column in enumerate(self.columns) if column.group]
        shown = [i for i in range(len(self.columns)) if i not in groups]
        lines = [["" if groups and i == shown[0] else self.columns[i].heading for i in shown]]
        for row in self.rows:
            cells = [" ".join(filter(None, self.columns[i].texts(row.cells[i]))) for i in shown]
            lines.append([f"{'  ' * bool(groups)}{cells[0]}", *cells[1:]])
        columns = [self.columns[i] for i in shown]
        head, *body = aligned(lines, [c.words for c in columns], [c.least for c in columns], width)
        found, before = [head], None
        for row, line in zip(self.rows, body, strict=True):
            over = [printable(row.cells[i]) for i in groups]
            found += [cut(" · ".join(over), width)] if over and over != before else []
            found.append(line)
            before = over
        return found

    def markdown(self, gap: str = "") -> str:
        """A table of Markdown; `gap` follows every cell, for those who set them without any space between."""
        lines = [[column.heading for column in self.columns], ["---" for _ in self.columns]]
        for row in self.rows:
            cells = [" ".join(filter(None, c.texts(value))) for c, value in zip(self.columns, row.cells, strict=True)]
            lines.append([markdown(cell) + gap for cell in cells])
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def csv(self) -> str:
        """The values as they are; of an interval the mean and both ends."""
        ends = ("", " low", " high")
        names = [c.heading + end for c in self.columns for end in (ends if c.interval else ends[:1])]
        with io.StringIO(newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            for row in self.rows:
                writer.writerow([x for cell in row.cells for x in (cell if isinstance(cell, tuple) else (cell,))])
            return file.getvalue()


def aligned(
    rows: Sequence[Sequence[str]],
    left: Sequence[bool] | None = None,
    least: Sequence[int | None] | None = None,
    width: int = WIDTH,
) -> list[str]:
    """Lines of columns below each other.

    Args:
        left: whether each column is set to the left; all are where none is given.
        least: characters to which each column may be cut where a line would be longer than `width`; None: not at all.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    left = left or [True] * len(rows[0])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    may_be_cut = {i: fewest for i, fewest in enumerate(least or ()) if fewest is not None}
    for i in sorted(may_be_cut, key=lambda i: -widths[i]):
        excess = sum(widths) + 2 * (len(widths) - 1) - width
        widths[i] -= max(0, min(excess, widths[i] - may_be_cut[i]))
    lines = []
    for row in rows:
        cells = [cut(cell, size) for cell, size in zip(row, widths, strict=True)]
        cells = [
            c.ljust(size) if to_left else c.rjust(size) for c, size, to_left in zip(cells, widths, left, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def _cell(record: Mapping[Any, Any], name: str, column: Column) -> Cell:
    value = record[name]
    return (value, record[f"{name}_low"], record[f"{name}_high"]) if column.interval else value
