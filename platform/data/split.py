"""Divide a folder of images by where they come from, so that a test image has no sister in training.

Pictures of one instrument, one preparation or one laboratory are alike: divided at random, a test would partly ask what
was learned by heart. A table (CSV) beside the images names the source of each. What comes out is a folder with the
subfolders train, validation and test, which `--data folder:OUT` takes as they are, and `--test folder:OUT/test` alone:

    python -m deepblur.platform.data.split IMAGES OUT --test "CellProfiler,clEsperanto" --validation NEUBIAS
"""

import argparse
import csv
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from deepblur.platform.data.entries import require_folder
from deepblur.platform.data.image_file import read_grey, stored_values
from deepblur.platform.data.sources import DIVISIONS
from deepblur.platform.system.enclosed import inside

TABLE, FILE, SOURCE = "images.csv", "file", "source"
WHITE = 0.9995
"""Share of the pixels of a deep image, so that a few hot ones do not leave all others dark."""


def read_table(table: Path) -> dict[str, str]:
    """File → source, of a CSV with the columns file and source; others do not matter.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: a column is missing, a row lacks file or source, or a file stands in it twice.
    """
    if not table.is_file():
        raise FileNotFoundError(
            f"{table} should say where each image comes from; write it, or name another with --table"
        )
    with table.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.DictReader(lines)
        missing = [name for name in (FILE, SOURCE) if name not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{table} needs the columns {FILE} and {SOURCE}; it has {', '.join(rows.fieldnames or ())}"
            )
        found: dict[str, str] = {}
        for row in rows:
            file, source = row[FILE], row[SOURCE]
            if not file or not source:
                raise ValueError(f"line {rows.line_num} of {table} lacks a file or a source; complete it")
            if file in found:
                raise ValueError(f"{table} names {file} twice; leave one line")
            found[file] = source
    return found


def divide(sources: Mapping[str, str], *, validation: Sequence[str], test: Sequence[str]) -> dict[str, list[str]]:
    """The files of train, validation and test; what neither list claims is for training.

    Args:
        sources: file → where it comes from.
        validation, test: parts of the names of sources, as much of each as tells it from the others.
    Raises:
        ValueError: a name belongs to no source, a source to both lists, or a part is empty.
    """
    claims = {"validation": validation, "test": test}
    known = sorted(set(sources.values()))
    for name in (*validation, *test):
        if not any(name in source for source in known):
            raise ValueError(f"no source has {name!r} in its name; there are {', '.join(known)}")
    parts: dict[str, list[str]] = {part: [] for part in DIVISIONS}
    for file, source in sources.items():
        claimed = [part for part, names in claims.items() if any(name in source for name in names)]
        if len(claimed) > 1:
            raise ValueError(f"the source {source!r} is named for validation and for test; name it once")
        parts[claimed[0] if claimed else "train"].append(file)
    if empty := [part for part, files in parts.items() if not files]:
        raise ValueError(f"no image is left for {' and '.join(empty)}; name other sources")
    return parts


def lay_out(folder: Path, out: Path, parts: Mapping[str, Sequence[str]]) -> None:
    """Write OUT/PART/FILE for all of them, all or none.

    Files of 8 bit are copied. Deeper ones become grey PNGs of 8 bit over their own range, whatever part of its bits a
    camera used: black is the least value, white the one that `WHITE` of the pixels do not exceed.

    Raises:
        ValueError: a file is missing or no image, lies outside of the folder, or two would have one name.
        FileExistsError: OUT is there already.
    """
    if out.exists():
        raise FileExistsError(f"{out} is there already; take it away or name another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".split-", dir=out.parent) as temporary:
        unfinished = Path(temporary) / "images"
        for part, files in parts.items():
            for file in files:
                source, target = inside(folder, file), unfinished / part / file
                grey = read_grey(source)  # says what is wrong with a file, if anything is
                deep = stored_values(source)[0].dtype != np.uint8
                target = target.with_suffix(".png") if deep else target
                if target.exists():
                    raise ValueError(
                        f"two images would be {part}/{target.relative_to(unfinished / part)}; rename {file}"
                    )
                target.parent.mkdir(parents=True, exist_ok=True)
                if deep:
                    Image.fromarray(_stretched(grey)).save(target)
                else:
                    shutil.copyfile(source, target)
        unfinished.rename(out)


def _stretched(grey: np.ndarray) -> np.ndarray:
    low, high = float(grey.min()), float(np.quantile(grey, WHITE))
    shares = (grey.astype(np.float64) - low) / max(high - low, 1e-12)
    return np.rint(255 * shares.clip(0, 1)).astype(np.uint8)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deepblur.platform.data.split", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("images", metavar="IMAGES", type=Path, help="the folder of images")
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder to be made")
    for part in ("validation", "test"):
        parser.add_argument(f"--{part}", metavar="SOURCE,SOURCE", required=True, help=f"sources for {part}, by as much "
                            "of their names as tells them from the others")  # fmt: skip
    parser.add_argument("--table", type=Path, help=f"CSV with the columns file and source (default: IMAGES/{TABLE})")
    given = parser.parse_args(arguments)
    lists = {part: [name.strip() for name in getattr(given, part).split(",") if name.strip()] for part in DIVISIONS[1:]}
    try:
        require_folder(given.images, "a folder of images")
        sources = read_table(given.table or given.images / TABLE)
        parts = divide(sources, **lists)
        lay_out(given.images, given.out, parts)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for part, files in parts.items():
        counts = Counter(sources[file] for file in files)
        print(f"{part}: {len(files)} images: " + ", ".join(f"{source} ({n})" for source, n in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
