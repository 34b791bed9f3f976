"""A driver that goes on with a search of a thousand trials: what it holds in memory, and how soon it is there."""

import time
from collections.abc import Iterator
from pathlib import Path

from fresh import fresh, resident_mb
from trials import SILENT, Results, grid, made_up, search

from deepblur.platform.arms.search.history import History
from deepblur.platform.arms.search.loop import Job, Loop
from deepblur.platform.stages.ledger import Ledger

VALIDATIONS = 9
MEASURES = {"psnr_gain_db": 1.0, "psf_snr_db": 10.0, "ssim_gain": 0.1, "latency_ms": 5.0, "gmacs": 0.1,
            "parameters": 1e5, "training_s": 60.0}  # fmt: skip


def fill(folder: Path, trials: int) -> float:
    """Record so many trials as a search does, with curves of two trainings and three stages each; seconds."""
    history = History(folder / "search", search("tpe", max(1, trials)), "here")
    draws = search("random", max(1, trials))  # whose trials take no time
    start = time.perf_counter()
    marks = {str(mark): 1.0 / (mark + 1) for mark in range(VALIDATIONS)}
    with Ledger(folder) as ledger:
        for number in range(trials):
            keys = [f"{number}-{kind}" for kind in ("identify", "deblur", "evaluate")]
            trial = draws.suggest(number, [])
            assert trial is not None
            history.add(trial, {"gmacs": 0.1, "parameters": 1e5, "concurrent": 2, "stages": keys})
            for key in keys:
                ledger.start(key, key.partition("-")[2], f"trial {number}")
                ledger.folder(key).mkdir()
                ledger.finish(key, {"seconds": 1.0, **MEASURES})
            history.note(number, curves={"identify": marks, "deblur": marks}, measures=MEASURES)
            history.end(number, "COMPLETE", [number % 7 / 7, 0.1])
    return time.perf_counter() - start


def resume(folder: Path, trials: int) -> dict[str, float]:
    """Open the record in a fresh process and ask for the next trial."""
    import optuna  # noqa: F401  what a driver without any trials would have loaded too

    wanted = search("tpe", trials + 1)
    before_mb = resident_mb()
    start = time.perf_counter()
    with Ledger(folder):
        history = History(folder / "search", wanted, "here")
        loaded = time.perf_counter()
        results = Results(folder)
        loop = Loop(wanted, grid(), history, results, made_up(folder), 1, SILENT)
        opened_mb = resident_mb()
        job = loop.next()
        if not isinstance(job, Job) or job.number != trials:
            raise RuntimeError(f"the search was to go on with trial {trials}; got {job}")
        asked = time.perf_counter()
    return {"driver_mb": resident_mb(), "open_s": loaded - start, "trials_mb": opened_mb - before_mb,
            "ask_s": asked - loaded, "sampler_mb": resident_mb() - opened_mb}  # fmt: skip


def memory(folder: Path, quick: bool) -> Iterator[str]:
    """The section's lines."""
    counts = (0, 50) if quick else (0, 1000)
    names = ("record s", "on disk MB", "driver MB", "open s", "of it MB", "next trial s", "of it MB")
    yield f"{'trials':>8}" + "".join(f"{name:>14}" for name in names)
    for count in counts:
        place = folder / str(count)
        place.mkdir()
        took = fresh(fill, place, count)
        size = sum(file.stat().st_size for file in (place / "search" / "optuna.db", place / "ledger.db")) / 1e6
        columns = zip((1, 1, 0, 2, 1, 2, 1), (took, size, *fresh(resume, place, count).values()), strict=True)
        yield f"{count:8}" + "".join(f"{value:14.{digits}f}" for digits, value in columns)
