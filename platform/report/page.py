"""The page that every kind of result is shown on, and the folder it lies in: one builder, filled with sections.

A section is a heading over blocks. A block is a paragraph (text), sentences (a list), names and what they are (a
mapping), or one of the classes here and `Table`. What comes in is escaped by the template, whatever it is.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias

import pandas as pd
from matplotlib.figure import Figure as Drawing

from deepblur.platform.report.style import FILES, rendered
from deepblur.platform.report.table import Column, Table
from deepblur.platform.report.template import filled
from deepblur.platform.stages.cost import CLASSES, Cost
from deepblur.platform.system.whole_files import replace_file

REM_PER_IN = 7.92
"""Of charts on the page: all on one scale, so that their letters have one size."""
_COST = (
    "Core-seconds reserved by all attempts at the study's stages, whichever command made them, and what they were for: "
    "the result; work that a kill destroyed; attempts that failed; trainings given up early; starting and ending "
    "processes. Used is the processor time of the processes themselves."
)


@dataclass(frozen=True, eq=False)
class Figure:
    drawing: Drawing
    caption: str
    name: str = ""
    """Of its files, figures/NAME.svg and so on; a figure without a name is on the page only."""
    pixels: bool = False
    """Whether it is shown as pixels, which pictures are half as large as; charts stay vectors."""
    kind: ClassVar = "figure"

    @cached_property
    def files(self) -> dict[str, bytes]:
        return rendered(self.drawing, FILES if self.name else (self._shown,))

    @property
    def source(self) -> str:
        return _embedded(self.files[self._shown], self._shown)

    @property
    def _shown(self) -> str:
        return "png" if self.pixels else "svg"

    @property
    def alt(self) -> str:
        return self.name.replace("_", " ") or self.caption

    @property
    def width_rem(self) -> str:
        return f"{self.drawing.get_figwidth() * (10 if self.pixels else REM_PER_IN):.1f}"


@dataclass(frozen=True)
class Picture:
    """One of a strip."""

    label: str
    png: bytes
    note: str = ""

    @property
    def text(self) -> str:
        return ", ".join(filter(None, (self.label, self.note)))

    @property
    def source(self) -> str:
        return _embedded(self.png, "png")


@dataclass(frozen=True)
class Strip:
    """Pictures side by side."""

    pictures: Sequence[Picture]
    kind: ClassVar = "strip"


@dataclass(frozen=True)
class Folded:
    """Shown when the reader asks for it."""

    summary: str
    blocks: "Sequence[Block]"
    kind: ClassVar = "folded"


@dataclass(frozen=True)
class Code:
    text: str
    kind: ClassVar = "code"


@dataclass(frozen=True)
class Link:
    text: str
    address: str
    kind: ClassVar = "link"


@dataclass(frozen=True)
class Section:
    """A heading over blocks; within another section, a smaller one."""

    heading: str
    blocks: "Sequence[Block]"
    kind: ClassVar = "section"


Block: TypeAlias = "str | Sequence[str] | Mapping[str, str] | Table | Figure | Strip | Folded | Code | Link | Section"


class Reported(Protocol):
    """What a page says of every result."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def preset(self) -> str: ...
    @property
    def command(self) -> str: ...
    @property
    def abstract(self) -> dict[str, str]: ...
    @property
    def facts(self) -> dict[str, str]: ...
    @property
    def cost(self) -> Cost | None: ...


def write(
    result: Reported, sections: Sequence[Section], tables: Mapping[str, pd.DataFrame], folder: Path, *, lead: str = ""
) -> Path:
    """Write what there is to see of a result, and return the path of report.html.

    Beside it: NAME.csv of each table, but items.parquet of the one called "items", and figures/NAME.svg, .pdf and .png
    of each figure with a name. A file is either the old one or the whole new one: it is written under another name and
    renamed.

    Args:
        lead: what stands below the title after name and preset of the study.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        if name == "items":  # many, and for programs
            replace_file(folder / "items.parquet", table.to_parquet(index=False))
        else:
            replace_file(folder / f"{name}.csv", table.to_csv(index=False).encode())
    for figure in _figures(sections):
        (folder / "figures").mkdir(exist_ok=True)
        for kind, content in figure.files.items():
            replace_file(folder / "figures" / f"{figure.name}.{kind}", content)
    return replace_file(folder / "report.html", page(result, sections, lead=lead).encode())


def page(result: Reported, sections: Sequence[Section], *, lead: str = "") -> str:
    """The whole HTML text: the sections, those without a block left out, and where the result comes from."""
    lead = f"Study {result.name}, preset {result.preset}{lead}"
    every = [*sections, Section("Provenance", [{"Command": result.command, **result.facts}])]
    return filled("document", result.title, lead, result.abstract, [some for some in every if some.blocks])


def cost_section(cost: Cost | None, heading: str = "What it cost") -> Section:
    """What a study's stages cost; empty where nobody counted."""
    if cost is None:
        return Section(heading, ())
    seconds = ["cpu_s", *CLASSES, "cpu_used_s", *(["gpu_s"] if cost.attempts["gpu_s"].sum() else [])]
    labels = {"cpu_s": "reserved", "cpu_used_s": "used", "gpu_s": "GPU-s reserved"}
    columns = {"kind": Column("stage"), "stages": Column("stages", 0), "attempts": Column("attempts", 0)}
    columns |= {name: Column(labels.get(name, name), 1) for name in seconds}
    sentence = cost.sentence()
    return Section(heading, [Table.of(cost.stages, columns, _COST), f"{sentence[0].upper()}{sentence[1:]}."])


def _figures(blocks: Sequence[Any]) -> Iterator[Figure]:
    """Those that have files, wherever they are."""
    for block in blocks:
        if isinstance(block, Figure) and block.name:
            yield block
        yield from _figures(getattr(block, "blocks", ()))


def _embedded(content: bytes, kind: str) -> str:
    media = {"png": "png", "svg": "svg+xml"}[kind]
    return f"data:image/{media};base64,{b64encode(content).decode()}"
