"""Writes the tables of docs/results.md from finished studies: python docs/make_results.py NAME=FOLDER/items.parquet …

FOLDER is where the study says that its report is. Each NAME is that of a block from `<!-- table NAME … -->` to
`<!-- end -->` in the page; blocks of other names stay as they are. Shown are means over the draws of a cell, with 95 %
intervals over images.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from deepblur.platform.arms.methods.result import MethodsResult, interval
from deepblur.platform.evaluation.paired import compare_to_reference

PAGE = Path(__file__).resolve().parent / "results.md"
_BLOCK = re.compile(r"(<!-- table (\S+) (\S+) (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
"""Name of the study, what to show (a column of the items), and how: arms, paired or eta, see `table`."""
_UNITS = {"psf_snr_db": 1, "psnr_gain_db": 2, "ssim_gain": 3, "psf_error": 2}
"""Column → decimals."""


def table(items: pd.DataFrame, column: str, kind: str, reference: str = "compact") -> str:
    """Markdown.

    Args:
        items: of one study.
        column: one of `_UNITS`.
        kind: arms (rows are arms, columns noise levels), paired (the same, each arm's difference to the reference), or
            eta (of the reference: rows are η, columns noise levels).
        reference: start of the names of the arms that are compared with all others of their K.
    """
    arms = list(items["arm"].unique())
    told = tuple(arm for arm in arms if arm.startswith("true "))
    result = MethodsResult(
        name="", title="", abstract={}, preset="", command="", items=items, reference=arms[0], informed=told
    )
    ok, noises = result.scored, list(result.noises["noise"])
    if kind == "eta":
        mine = ok[ok["arm"] == f"{reference} (K = 7)"]
        rows = [(f"η {eta:g}", part) for eta, part in mine.groupby("eta_waves")]
        body = [[name, *_cells(part, column, noises)] for name, part in [*rows, ("all η", mine)]]
    elif kind == "arms":
        parts = ((arm, ok[ok["arm"] == arm]) for arm in arms)
        body = [[arm, *_cells(part, column, noises)] for arm, part in parts if part[column].notna().any()]
    else:
        body = [row for K in ("(K = 7)", "(K = 8)") for row in _differences(ok, column, f"{reference} {K}", K, noises)]
    head = ["" if kind != "eta" else f"{reference} (K = 7)", *(f"noise {noise}" for noise in noises), "all"]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cells(items: pd.DataFrame, column: str, noises: Sequence[str]) -> list[str]:
    return [_written(interval(part, column), column) for part in [*(items[items["noise"] == n] for n in noises), items]]


def _differences(items: pd.DataFrame, column: str, reference: str, K: str, noises: Sequence[str]) -> list[list[str]]:
    given = items[items["arm"].str.endswith(K) & items[column].notna()]
    if reference not in set(given["arm"]):
        return []
    parts = [given[given["noise"] == noise] for noise in noises]
    found = [compare_to_reference(part, reference, column).set_index("arm") for part in [*parts, given]]
    return [
        [
            f"{reference} minus {arm}",
            *(_written([-f.loc[arm, k] for k in ("mean", "high", "low")], column) for f in found),
        ]
        for arm in given["arm"].unique()
        if arm != reference
    ]


def _written(values: Sequence[float], column: str) -> str:
    mean, low, high = (f"{value:.{_UNITS[column]}f}".replace("-", "−") for value in values)
    return f"{mean} [{low}, {high}]"


def main(arguments: Sequence[str]) -> None:
    studies = {name: pd.read_parquet(path) for name, _, path in (text.partition("=") for text in arguments)}

    def filled(block: re.Match[str]) -> str:
        head, name, column, kind, end = block.groups()
        return f"{head}{table(studies[name], column, kind)}{end}" if name in studies else block.group()

    PAGE.write_text(_BLOCK.sub(filled, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
