"""What a user sees of a study of each kind, held against golden files: `python tests/pins/pin.py`, some minutes.

Runs the small studies `tests/micro_*.py` as a user would, all in one runs folder, and compares with `tests/pins/*.txt`,
to the last digit: what the job's log, `--help`, the report and its CSV files say, which files and columns there are,
and what MLflow shows. Left out is what differs from run to run: times, hashes, versions, places. Another processor or
another torch may round otherwise; `tests/platform/experiment/test_pins.py` therefore compares all but the digits.

    --write    write the golden files anew (look at `git diff` afterwards)
    --runs DIR  keep the runs folder there, or look at one that is there
"""

import argparse
import difflib
import io
import os
import re
import runpy
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KINDS = {"trained": "study", "methods": "comparison", "tuning": "tuning", "uncertainty": "uncertainty",
         "search": "search"}  # fmt: skip
"""Kind of study → the file that states a small one."""
VARIES = (
    (
        r"(?<=%22)[0-9a-f]{32}|\b[0-9a-f]{40}\b|\b[0-9a-f]{32}\b|(?<=-)[0-9a-f]{16}\b|(?<!\.)\b[0-9a-f]{12}\+?(?![0-9a-f])",
        "HASH",
    ),
    (r"(experiments/|experiments=%5B%22)\d+", r"\1NUMBER"),
    (r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?( UTC)?", "DATE"),
    (r"((?<![\w.])|(?<=time))\d+(\.\d+)? ?(ms|s|min|h|core-s|core-min|core-h|MB|GB|MiB|GiB)\b", "QUANTITY"),
    (r"(?<=: )\d+ ?% ?\w+(, \d+ ?% ?\w+)*(?=\.?$)", "SHARES"),
    (r"saved QUANTITY \(\d+%\)\.( Pruning.*)?", "saved QUANTITY"),
    (r"^git commit\w+\+?$", "git commitHASH"),
    # columns of times, which carry no unit
    (r"^(\w+( \| \d+){2})( \| [\d.]+){4,}$", r"\1 | TIMES"),
    (r"(?<=\d \| )[\d,]+$", "TIME"),
    (r"^(.* \| \d+ \| )\d+(\.\d+)?(?:e-\d+)?( \| TIME)$", r"\1TIME\3"),
    (r"(?<=[\]—])\s+\d+(\.\d+)?(e-\d+)?$", " TIME"),
    (r"([+−]\d+\.\d\d(?: \|)? +)\d+\.\d\d(?=\s|$)", r"\1TIME"),
    (r"\| [\d.]+( \| [\d.]+ \| QUANTITY)$", r"| TIME\1"),
    (r"^latency_ms\b.*", "latency_ms TIMES"),
    (r"^seconds,[\d.]+", "seconds,TIME"),
)
"""What differs from run to run, in this order, and the word that stands for it."""
ABSENT = (
    "tag mlflow.source.git.",
    "metric system/",
    "uncommitted.diff",
    "decoding ",
    "  about QUANTITY, had they cost",
    "  QUANTITY, had they cost",
    "  saved about QUANTITY, had they cost",
)
"""Beginnings of lines that are there or not, as machine, checkout and luck have it."""
UNSTABLE = ("seconds", "latency", "peak_mb", "training_s", "cost/", "system/", "time", "_s", "memory")
"""Names of columns, metrics and parameters whose values are times or depend on the machine, by a part of them."""


class _Text(HTMLParser):
    """The text of a page, a line for every row, heading and paragraph; figures by the words in them."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._hidden += tag in ("style", "defs")
        self.parts += {"tr": ["\n"], "td": [" | "], "th": [" | "], "figure": ["\nFIGURE "], "img": [" IMAGE "]}.get(
            tag, ["\n"] if tag in ("h1", "h2", "h3", "p", "li", "dt", "summary", "figcaption", "caption") else []
        )

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "defs")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(" ".join(data.split()))


def page_text(html: str) -> Iterator[str]:
    parser = _Text()
    parser.feed(html)
    lines = ("".join(parser.parts)).split("\n")
    yield from (line.strip(" |") for line in lines if line.strip(" |"))


def run(kind: str, runs: Path) -> str:
    """The log of one study, which must end well."""
    return printed(kind, "--local", "--data", "dead-leaves", "--runs", str(runs))


def printed(kind: str, *options: str) -> str:
    """What the file of a small study prints when it is run, here in this process: a new one takes seconds to start."""
    file = f"tests/micro_{KINDS[kind]}.py"
    before, said, code = (sys.argv, os.environ.get("COLUMNS"), Path.cwd()), io.StringIO(), None
    sys.argv, os.environ["COLUMNS"] = [file, *options], "120"
    os.chdir(ROOT)
    try:
        with redirect_stdout(said):
            runpy.run_path(file, run_name="__main__")
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before[0]
        os.environ.pop("COLUMNS") if before[1] is None else os.environ.update(COLUMNS=before[1])
        os.chdir(before[2])
    if code:
        raise SystemExit(f"{' '.join([file, *options])} ended with {code}:\n{said.getvalue()}")
    return said.getvalue()


def seen(kind: str, runs: Path, log: str) -> list[str]:
    """Everything that a user sees of one study."""
    lines = ["== help", *printed(kind, "--help").splitlines(), "== log"]
    lines += log.splitlines()
    for folder in sorted(runs.glob(f"studies/micro_{KINDS[kind]}-*"), key=_files):  # of a search, with its last study
        lines += ["== files", *_files(folder)]
        for page in sorted(folder.rglob("*.html")):
            lines += [f"== {page.name}", *page_text(page.read_text(encoding="utf-8"))]
        for table in sorted(folder.rglob("*.csv")):
            lines += [f"== {table.name}", *_stable_table(table)]
    lines += ["== MLflow", *recorded(kind, runs)]
    steady = (_steady(line, runs).rstrip() for text in lines for line in text.split("\n"))
    return [line for line in steady if not line.startswith(ABSENT)]


def _files(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def _stable_table(file: Path) -> Iterator[str]:
    import pandas as pd

    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    for name in table.columns:
        if any(part in name for part in UNSTABLE):
            table[name] = "…"
    yield from table.to_csv(index=False).splitlines()


def recorded(kind: str, runs: Path) -> Iterator[str]:
    """The runs of a study as MLflow shows them, in the order of their names."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{runs}/mlflow.db")
    for experiment in client.search_experiments(order_by=["name ASC"]):
        found = client.search_runs([experiment.experiment_id], max_results=1000)
        ours = [run for run in found if run.data.tags.get("study") == f"micro_{KINDS[kind]}"]
        for item in sorted(ours, key=lambda run: (run.info.run_name, sorted(run.data.params.items()))):
            yield f"-- {experiment.name}: {item.info.run_name}, {item.info.status}"
            files = sorted({re.sub(r"\+.*", "", file.path) for file in client.list_artifacts(item.info.run_id)})
            files = [file for file in files if not file.startswith(ABSENT)]
            yield f"artifacts {files}"
            for what, values in (("param", item.data.params), ("tag", item.data.tags), ("metric", item.data.metrics)):
                for name, value in sorted(values.items()):
                    varies = any(part in name for part in UNSTABLE) or what == "tag"
                    yield f"{what} {name}" + ("" if varies and name != "mlflow.note.content" else f" = {value}")
    for model in client.search_registered_models(order_by=["name ASC"]):
        yield f"registered {model.name}: {sorted(model.aliases)}"


def _steady(line: str, runs: Path) -> str:
    line = line.replace(str(runs), "RUNS").replace(str(ROOT), "ROOT")
    for pattern, word in VARIES:
        line = re.sub(pattern, word, line)
    return line


def golden(kind: str) -> Path:
    return HERE / f"{kind}.txt"


def without_digits(line: str) -> str:
    """A line with every number as #, whatever its sign and length."""
    return re.sub(r"([+−-]?\d[\d.,]*(e[+-]?\d+)?)+|\bnan\b|\binf\b", "#", re.sub(r"\s+", " ", line))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--runs", type=Path)
    parser.add_argument("kinds", nargs="*", default=[*KINDS], metavar="KIND")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported
    sys.path[:0] = [str(ROOT), str(HERE.parent)]
    differ = False
    with tempfile.TemporaryDirectory() as scratch:
        runs = (arguments.runs or Path(scratch) / "runs").resolve()
        for kind in arguments.kinds:
            found = seen(kind, runs, run(kind, runs))
            if arguments.write:
                golden(kind).write_text("\n".join(found) + "\n", encoding="utf-8")
                continue
            known = golden(kind).read_text(encoding="utf-8").splitlines()
            change = list(difflib.unified_diff(known, found, f"golden {kind}", "found", lineterm="", n=0))
            print("\n".join(change) if change else f"{kind}: as before, to the last digit", flush=True)
            differ |= bool(change)
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
