"""Damaged files through the real command: no traceback, no hang, no leftover, no memory that a file merely claims.

    python tests/fuzz/fuzz_restore.py --files 2000 --seed 0

Each file is made from the seed and its number alone, so `--first N --files 1` repeats one. Files run in a child process
whose memory is limited; a child that dies or falls silent is a finding too.
"""

import argparse
import contextlib
import io
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

MAX_S = 20.0
MEMORY_BYTES = 2**30
KNOWN_EXITS = {0, 2, 4, 5, 6}


def study(path: Path, out: Path) -> str:
    """What becomes of one file: "restored", or "refused". Raises AssertionError for what must not happen."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(errors):
        outcome = _round_trip(path, out / path.name)
    text = errors.getvalue()
    assert not text, f"printed: {text}"
    left = {file.name for file in out.iterdir()} - {path.name}
    assert not left, f"left behind: {left}"
    return outcome


def _round_trip(path: Path, target: Path) -> str:
    from deepblur.platform.inference.failures import RestorationError
    from deepblur.platform.inference.recording import read_recording, write_recording
    from deepblur.platform.inference.scale import scale_of

    try:
        recording = read_recording(path)
        scale = scale_of(recording)
        write_recording(
            target, (scale.to_stored(scale.to_unit(f), recording.dtype) for f in recording.frames()), recording
        )
    except RestorationError as error:
        _hold(error, path, target)
        return "refused"
    again = read_recording(target)
    assert (again.shape, again.dtype) == (recording.shape, recording.dtype), f"{again} was {recording}"
    for _ in again.frames():
        pass
    return "restored"


def _hold(error: BaseException, path: Path, target: Path) -> None:
    """A refusal is one sentence about the file, for another reason than memory, and leaves nothing."""
    assert not target.exists(), "a refused file left a result"
    assert str(error).startswith(str(path)), f"names no file: {error}"
    assert "\n" not in str(error), f"more than a sentence: {error}"
    cause: BaseException | None = error
    while cause is not None:
        assert not isinstance(cause, MemoryError), f"wanted more than {MEMORY_BYTES} bytes: {error}"
        assert not isinstance(cause, NameError), f"a defect of ours: {error}"
        cause = cause.__cause__ or cause.__context__


def make(number: int, seed: int, folder: Path, files: dict[str, bytes]) -> tuple[Path, str]:
    rng = random.Random(f"{seed}/{number}")
    data, changes = mutants.mutant(rng, list(files.values()))
    suffix = rng.choice(mutants.SUFFIXES) if rng.random() < 0.2 else Path(rng.choice(list(files))).suffix
    path = folder / f"{number}{suffix}"
    path.write_bytes(data)
    return path, changes


def in_order(numbers: range, seed: int, folder: Path) -> Counter[str]:
    """The files one after the other in this process."""
    outcomes: Counter[str] = Counter()
    files = mutants.seeds()
    for number in numbers:
        outcomes[run_one(number, seed, folder, files)] += 1
    return outcomes


def run_one(number: int, seed: int, folder: Path, files: dict[str, bytes]) -> str:
    path, _ = make(number, seed, folder, files)
    out = folder / "out"
    out.mkdir(exist_ok=True)
    try:
        return study(path, out)
    finally:
        path.unlink()
        for file in out.iterdir():
            file.unlink()


def child(numbers: range, seed: int, folder: Path, results: Connection) -> None:
    files = mutants.seeds()
    used = Path("/proc/self/statm").read_text().split()[0]
    limit = int(used) * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for number in numbers:
        try:
            outcome = run_one(number, seed, folder, files)
        except BaseException:
            outcome = traceback.format_exc()
        results.send((number, outcome))


def supervise(first: int, count: int, seed: int, folder: Path) -> dict[int, str]:
    """Outcome of each file; a death or a silence of the child counts as the outcome of the file it was at."""
    outcomes: dict[int, str] = {}
    started, told = time.monotonic(), 0.0
    context = multiprocessing.get_context("fork")
    at = first
    while at < first + count:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=child, args=(range(at, first + count), seed, folder, sender))
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
    options.add_argument("--keep", type=Path, help="folder for the files that found something")
    arguments = options.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = supervise(arguments.first, arguments.files, arguments.seed, Path(folder))
    found = {number: text for number, text in outcomes.items() if text not in ("restored", "refused")}
    for number, text in found.items():
        print(f"\n--- file {number} ---\n{text}")
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            make(number, arguments.seed, arguments.keep, mutants.seeds())
    kinds = Counter(outcomes.values())
    print(
        f"{len(outcomes)} files in {time.monotonic() - started:.0f} s (seed {arguments.seed}): {kinds['restored']} "
        f"restored, {kinds['refused']} refused in one sentence, {len(found)} findings"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
