"""Damaged files through the real command: no traceback, no hang, no leftover, no memory that a file merely claims.

    python tests/fuzz/fuzz_restore.py --files 2000 --seed 0
    python tests/fuzz/fuzz_restore.py --files 3000 --seed 0 --kind ome

Each file goes through `deepblur restore` with a tiny model, or, with --reading, only through reading, scaling and
writing. It is made from the seed and its number alone, so `--first N --files 1` repeats one. Files run in a child
process whose memory is limited; a child that dies or falls silent is a finding too.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import mutants
import ome_mutants

KINDS = ("bytes", "ome")
MAX_S = 20.0
MEMORY_BYTES = 2**30


def study(path: Path, out: Path, model: Path | None) -> str:
    """What becomes of one file: "restored", or "refused". Raises AssertionError for what must not happen.

    Args:
        model: folder of the model that restores; None: the file is read and written only.
    """
    from deepblur.restoration.formats.files import positions_of

    said, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(said):
        refusal = _round_trip(path, out / path.name) if model is None else _command(path, out, model)
    left = sorted(file.name for file in out.iterdir())
    printed = errors.getvalue()
    if refusal:
        assert printed == (refusal if model else ""), f"printed: {printed}"
        assert refusal.removeprefix("error: ").startswith(f"{path}"), f"names no file: {refusal}"
        several = 1 if model is None else positions_of(path)  # of a file that holds some, each is refused for itself
        assert refusal.strip().count("\n") < several, f"more than a sentence: {refusal}"
        assert "MemoryError" not in refusal, f"wanted more than {MEMORY_BYTES} bytes: {refusal}"
        assert "defect of" not in refusal, f"a defect of the method, it says: {refusal}"
        assert "is not defined" not in refusal, f"a defect of ours: {refusal}"
        assert not left or several > 1, f"left behind: {left}"
        return "refused"
    assert not printed, f"printed: {printed}"
    names = {path.name: None} if model is None else _results(out)
    assert names.keys() <= set(left), f"no result among {left}"
    assert not [file for file in left if file.startswith(".")], f"left behind: {left}"
    for name, position in names.items():
        _compare(path, position, out / name)
    return "restored"


def _results(out: Path) -> dict[str, int | None]:
    """The names that the reports give the restored images, and which of a file's images each is."""
    reports = [json.loads(report.read_text(encoding="utf-8")) for report in out.glob("*_report.json")]
    parts = [(report["files"]["image"], report["source"].rpartition("#")) for report in reports]
    return {name: int(position) if file else None for name, (file, _, position) in parts}


def _command(path: Path, out: Path, model: Path) -> str:
    """The refusal that `deepblur restore` prints, "" for none."""
    from deepblur import cli

    code = cli.main(["restore", str(path), "-o", str(out), "--model", str(model), "--no-pictures"])
    assert code in (0, 4), f"exit code {code}: {sys.stderr.getvalue()}"  # type: ignore[attr-defined]
    return "" if code == 0 else sys.stderr.getvalue()  # type: ignore[attr-defined]


def _round_trip(path: Path, target: Path) -> str:
    """The refusal, "" for none."""
    from deepblur.platform.system.errors import RestorationError
    from deepblur.restoration.images.io import read_recording, write_recording
    from deepblur.restoration.scale import scale_of

    try:
        like = read_recording(path)
        scale = scale_of(like)
        write_recording(target, (scale.to_stored(scale.to_unit(f), like.dtype) for f in like.frames()), like)
    except RestorationError as error:
        return str(error)
    return ""


def _compare(path: Path, position: int | None, target: Path) -> None:
    from deepblur.restoration.images.io import read_recording

    before, after = read_recording(path, position), read_recording(target)
    assert (after.shape, after.dtype, after.axes) == (before.shape, before.dtype, before.axes), f"{before} → {after}"
    for _ in after.frames():
        pass


def micro_model(folder: Path) -> Path:
    """The smallest model that `restore` takes: IN says zero, DN is its Tikhonov start."""
    import torch

    from deepblur.nets import Deblurrer, Identifier
    from deepblur.operators import ZernikeBlur
    from deepblur.platform.models.model import save_model

    torch.set_num_threads(1)
    told = {"num_parameters": 3, "arch": "compact", "widths": (4, 6)}
    config = {"unroll": 1, "widths": (4, 6), "blocks": 1, "residual": True, "lam": 0.1}
    operator = ZernikeBlur(noll=(4, 5, 6), psf_size=9, pupil_size=33)
    save_model(
        folder / "model", operator=operator, identifier_config=told, identifier=Identifier(**told),
        deblurrer_config=config, deblurrer=Deblurrer(**config), card={},
    )  # fmt: skip
    return folder / "model"


def make(number: int, seed: int, folder: Path, files: dict[str, bytes], kind: str = "bytes") -> tuple[Path, str]:
    rng = random.Random(f"{seed}/{number}")
    if kind == "ome":
        data, changes = ome_mutants.mutant(rng)
        path = folder / f"{number}.ome.tif"
        path.write_bytes(data)
        return path, changes
    data, changes = mutants.mutant(rng, list(files.values()))
    suffix = rng.choice(mutants.SUFFIXES) if rng.random() < 0.2 else Path(rng.choice(list(files))).suffix
    path = folder / f"{number}{suffix}"
    path.write_bytes(data)
    return path, changes


def in_order(numbers: range, seed: int, folder: Path, model: Path | None = None, kind: str = "bytes") -> Counter[str]:
    """The files one after the other in this process."""
    outcomes: Counter[str] = Counter()
    files = mutants.seeds()
    for number in numbers:
        outcomes[run_one(number, seed, folder, files, model, kind)] += 1
    return outcomes


def run_one(
    number: int, seed: int, folder: Path, files: dict[str, bytes], model: Path | None, kind: str = "bytes"
) -> str:
    path, _ = make(number, seed, folder, files, kind)
    out = folder / "out"
    out.mkdir(exist_ok=True)
    try:
        return study(path, out, model)
    finally:
        path.unlink()
        for file in out.iterdir():
            file.unlink()


def child(numbers: range, seed: int, folder: Path, model: Path | None, kind: str, results: Connection) -> None:
    files = mutants.seeds()
    used = Path("/proc/self/statm").read_text().split()[0]
    limit = int(used) * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number in numbers:
        try:
            outcome = run_one(number, seed, folder, files, model, kind)
        except BaseException:
            outcome = traceback.format_exc()
        results.send((number, outcome))


def supervise(first: int, count: int, seed: int, folder: Path, model: Path | None, kind: str) -> dict[int, str]:
    """Outcome of each file; a death or a silence of the child counts as the outcome of the file it was at."""
    outcomes: dict[int, str] = {}
    started, told = time.monotonic(), 0.0
    context = multiprocessing.get_context("fork")
    at = first
    while at < first + count:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=child, args=(range(at, first + count), seed, folder, model, kind, sender))
        process.start()
        sender.close()
        while at < first + count:
            try:
                heard = receiver.poll(MAX_S)
                if not heard:
                    process.kill()
                number, outcome = receiver.recv() if heard else (at, f"no answer within {MAX_S:.0f} s")
            except EOFError:
                process.join()
                number, outcome = at, f"the process died ({process.exitcode})"
            outcomes[number], at = outcome, number + 1
            if time.monotonic() - told > 10:
                told = time.monotonic()
                print(f"{len(outcomes)} of {count} files, {told - started:.0f} s", file=sys.stderr, flush=True)
            if outcome.startswith(("the process", "no answer")):
                break
        process.join()
    return outcomes


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--files", type=int, default=2000, help="how many")
    options.add_argument("--first", type=int, default=0, help="number of the first")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--reading", action="store_true", help="only read, scale and write")
    options.add_argument("--keep", type=Path, help="folder for the files that found something")
    options.add_argument("--kind", choices=KINDS, default="bytes", help="bytes: any accident to any file; ome: OME-XML")
    arguments = options.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        model = None if arguments.reading else micro_model(Path(folder))
        outcomes = supervise(arguments.first, arguments.files, arguments.seed, Path(folder), model, arguments.kind)
    found = {number: text for number, text in outcomes.items() if text not in ("restored", "refused")}
    for number, text in found.items():
        print(f"\n--- file {number} ---\n{text}")
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            make(number, arguments.seed, arguments.keep, mutants.seeds(), arguments.kind)
    kinds = Counter(outcomes.values())
    print(
        f"{len(outcomes)} files in {time.monotonic() - started:.0f} s (seed {arguments.seed}): {kinds['restored']} "
        f"restored, {kinds['refused']} refused in one sentence, {len(found)} findings"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
