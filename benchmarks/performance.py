"""Write docs/performance.md: what our work costs beside that of others, section after section on this machine.

Each section is a benchmark of this folder, with its output as it is; what was measured is kept in runs/performance and
not measured again, so that a run that was stopped goes on. The machine should be quiet: every output says its load.

    python benchmarks/performance.py                    # 35 min on 2 cores; deepinv's rows need deepblur[bench]
    python benchmarks/performance.py --only cold,growth --again
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import tifffile
import torch
from matplotlib.figure import Figure
from restore import photograph, run

from deepblur.platform.report.style import WIDTH_IN, rendered, styled

ROOT = Path(__file__).resolve().parent.parent
SIDES = (512, 1024, 2048, 4096)
SECTIONS = {
    "beside": (
        "Beside scikit-image, deepinv and the published blind methods",
        "All see the same observations in one run; seconds are of one image, ratios to ours, the first of each part.",
        ["benchmarks/beside_others.py"],
    ),
    "operators": (
        "Operators, beside deepinv's",
        "Median milliseconds of a call, both libraries in turn.",
        ["benchmarks/operators.py"],
    ),
    "cold": (
        "From the command to the restored image",
        "One image of 512×512 pixels, in a process of its own.",
        ["benchmarks/cold_start.py"],
    ),
    "growth": (
        "How it grows with the image",
        "`deepblur restore` of one image, without pictures, each in a process of its own: seconds from its start to "
        "its end, and the most memory that it held, within the 8 GiB that are allowed by default.",
        [],
    ),
    "training": (
        "A training step, and what a cluster would give",
        "deepinv's unfolded Douglas–Rachford of the same widths beside ours. The projection says what it assumes.",
        ["benchmarks/training.py"],
    ),
    "overhead": (
        "A training on the platform, beside a bare loop",
        "One stage in a bare PyTorch loop, with `--local` and on Ray, a process each.",
        ["benchmarks/platform", "--only", "overhead"],
    ),
    "trials": (
        "A trial that does nothing",
        "What a search adds to each of its trials.",
        ["benchmarks/platform", "--only", "trials"],
    ),
    "mlflow": (
        "MLflow with eight writers",
        "Points that are lost would be named.",
        ["benchmarks/platform", "--only", "mlflow"],
    ),
}
"""Name → title, what a reader must know, and the command."""


def growth(kept: Path) -> str:
    """The section's text, and its figure."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="deepblur-") as folder:
        for side in SIDES:
            image = Path(folder) / f"photo{side}.tif"
            tifffile.imwrite(image, photograph(side))
            took, peak = run(image, Path(folder) / "out", ["--no-pictures"])
            rows.append({"side": side, "seconds": took, "mib": peak})
            print(f"  {side}x{side}: {took:.1f} s, {peak:.0f} MiB", flush=True)
    kept.with_suffix(".json").write_text(json.dumps(rows), encoding="utf-8")
    lines = [f"load {os.getloadavg()[0]:.1f}", f"{'':14}{'seconds':>9}{'MiB':>8}{'ms/Mpx':>9}"]
    lines += [f"{r['side']}x{r['side']:<9}{r['seconds']:9.1f}{r['mib']:8.0f}"
              f"{1e3 * r['seconds'] / (r['side'] ** 2 / 1e6):9.0f}" for r in rows]  # fmt: skip
    return "\n".join(lines)


@styled
def picture(rows: list[dict[str, float]]) -> Figure:
    """Seconds and memory against the number of pixels."""
    figure = Figure(figsize=(WIDTH_IN, 2.4))
    millions = [row["side"] ** 2 / 1e6 for row in rows]
    for axes, name, label in zip(
        figure.subplots(1, 2), ("seconds", "mib"), ("seconds", "most memory, MiB"), strict=True
    ):
        axes.plot(millions, [row[name] for row in rows], "o-")
        axes.set_xlabel("million pixels")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
    return figure


def measured(name: str, kept: Path, again: bool) -> str:
    """A section's output, out of its file where there is one."""
    if kept.is_file() and not again:
        return kept.read_text(encoding="utf-8")
    print(f"{name}: {SECTIONS[name][0]}", flush=True)
    command = SECTIONS[name][2]
    if command:
        done = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        text = done.stdout.strip("\n")
    else:
        text = growth(kept)
    kept.write_text(text, encoding="utf-8")
    return text


def page(texts: dict[str, str]) -> str:
    """docs/performance.md."""
    where = f"{os.cpu_count()} cores ({platform.machine()}), torch {torch.__version__}, {datetime.date.today()}"
    about = f"""Written by `python benchmarks/performance.py`, section after section on one machine: {where}.
Ratios carry over to other machines, seconds do not. Every output names its threads or its load. How good the restored
images are stands in [results](results.md)."""
    lines = ["# What it costs", "", about]
    for name, text in texts.items():
        title, about, command = SECTIONS[name]
        lines += ["", f"## {title}", "", about, ""]
        if command:
            lines += [f"`python {' '.join(command)}`", ""]
        lines += ["```text", text, "```"]
        if name == "growth":
            lines += ["", "![Seconds and memory against the number of pixels](images/growth.svg)"]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections to measure, with commas between")
    parser.add_argument("--again", action="store_true", help="measure what is known already")
    given = parser.parse_args()
    chosen = given.only.split(",")
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"--only takes {', '.join(SECTIONS)}; got {', '.join(sorted(unknown))}")
    folder = ROOT / "runs" / "performance"
    folder.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        measured(name, folder / f"{name}.txt", given.again)
    texts = {name: (folder / f"{name}.txt").read_text(encoding="utf-8")
             for name in SECTIONS if (folder / f"{name}.txt").is_file()}  # fmt: skip
    if (rows := folder / "growth.json").is_file():
        svg = rendered(picture(json.loads(rows.read_text(encoding="utf-8"))), ["svg"])["svg"]
        (ROOT / "docs" / "images" / "growth.svg").write_bytes(svg)
    (ROOT / "docs" / "performance.md").write_text(page(texts), encoding="utf-8")
    missing = [name for name in SECTIONS if name not in texts]
    print("docs/performance.md" + f", without {', '.join(missing)}" * bool(missing))


if __name__ == "__main__":
    main()
