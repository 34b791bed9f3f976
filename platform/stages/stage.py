"""A stage: work that is done once and reused, identified by the hash of its full specification.

The hash covers every field, seed included, the fingerprint of the pixels (not their path), the code that the stage
runs, a user's own included, and the stages that it needs. Two arms that need the same stage therefore share it, and a
rerun carries out only what is missing.

A finished stage is a folder: `weights.safetensors` and `curve.jsonl` of a training, `items.parquet` and `pictures.npz`
of an evaluation, `result.json` of each. It is written under a temporary name and renamed when complete.
"""

import hashlib
import importlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from deepblur.platform.data.sources import Source
from deepblur.platform.data.store import open_store
from deepblur.platform.stages.finished import RESULT
from deepblur.platform.stages.heartbeat import Heartbeat, Meter, read_rows
from deepblur.platform.stages.identity import canonical, code_of, parts_in
from deepblur.platform.system.code import differs_here
from deepblur.platform.system.disk import writing
from deepblur.platform.system.memory import keep_freed_memory
from deepblur.platform.system.seal import hashes_of, write_sealed
from deepblur.platform.system.whole_files import complete


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Anything that is done once and reused: it has a kind, a key and a folder."""

    kind: ClassVar[str]
    title: ClassVar[str]
    """What people call it, such as IN or evaluation."""
    processes: ClassVar[int | None] = 1
    """Which it takes; None: as many as the study has workers."""
    expendable: ClassVar[bool] = False
    """One of many and short: they are counted rather than told of one by one, and one that takes its process down costs
    its own results only."""
    entry: ClassVar[tuple[str, ...]]
    """Modules that carry out every stage of this kind; what they import counts with them. The first one's function
    `carry_out` does it."""

    def runs(self) -> tuple[str, ...]:
        """Modules that carry out this stage."""
        return self.entry

    def uses(self) -> tuple[Any, ...]:
        """Functions that this stage finds by a name in its specification."""
        return ()

    def code(self) -> dict[str, str]:
        """Module → hash of its code, of all that decides about the result."""
        return code_of(self.runs(), (*parts_in(self), *self.uses()))

    def needs(self) -> tuple["Stage", ...]:
        return ()

    def reads(self) -> tuple[tuple[Source, ...], ...]:
        """The mixtures of sources whose pixels this stage looks at."""
        return ()

    def carry_out(self, work: "Work", watch: Callable[[], None]) -> dict[str, Any]:
        """Carry it out in this process; its result for the ledger.

        Args:
            watch: called after every checkpoint; what it raises ends the stage.
        """
        module = importlib.import_module("deepblur." + self.entry[0].replace("/", "."))  # only where it is needed
        return module.carry_out(work, watch)

    def part(self) -> str:
        """Which part of its arm's measurement it is, such as "noise low"; "" where it is all."""
        return ""

    def own_seed(self) -> int | None:
        """The seed that tells it from its like; None: that of the arm."""
        return None

    def steps(self) -> int:
        """How many steps its curve has at the end."""
        return 1

    def headline(self, row: Mapping[str, Any]) -> str:
        """What a row of its curve, or its result, says: a measure beside its trivial baseline."""
        return ""

    def measured(self, result: Mapping[str, Any]) -> dict[str, float]:
        """What of its result belongs into the record of its arm, by the names of `tracking.names`."""
        return {}

    def key(self, fingerprints: Mapping[tuple[Source, ...], str]) -> str:
        """32 hexadecimal digits; fingerprints: pixels' fingerprint of every tuple of sources that the stage names."""
        code = sorted(set(self.code().values()))  # a module may be renamed, and a study file run from elsewhere
        needs = [need.key(fingerprints) for need in self.needs()]  # made by other code than this stage
        spec = {"kind": self.kind, "spec": canonical(self, fingerprints), "code": code, "needs": needs}
        return hashlib.blake2b(json.dumps(spec, sort_keys=True).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Work:
    """One stage to carry out, with all that a process on another node needs to do it."""

    stage: Stage
    key: str
    label: str
    attempt: int
    runs: Path
    """Absolute, and the same folder on every node."""
    inputs: dict[str, str]
    """Key of each stage that this one needs, by its kind."""
    code: Mapping[str, str]
    """Module → hash of its code, as the driver has it, which a worker must share."""
    pixels: Mapping[tuple[Source, ...], str]
    """The fingerprints that the driver saw of the sources that this stage reads."""
    threads: int

    @property
    def cache(self) -> Path:
        return self.runs / "cache"

    @property
    def live(self) -> Path:
        """The curve so far, for the eyes of the driver."""
        return self.runs / "live" / f"{self.key}.jsonl"

    @property
    def scratch(self) -> Path:
        """Checkpoints of a training that is not finished."""
        return self.runs / "train" / self.key

    @property
    def folder(self) -> Path:
        return self.runs / "stages" / self.key

    def heartbeat(self, rank: int = 0) -> Heartbeat:
        return Heartbeat(self.live.parent, self.key, self.attempt, rank)

    def begin(self) -> Meter:
        """Begin a stage that has no checkpoints."""
        self.heartbeat().alive(0)
        return Meter()

    def unfinished_folder(self) -> Path:
        """An empty folder for the stage's artifacts, which `settle` moves to its place."""
        temporary = self.folder.with_name(f".{self.key}-{self.attempt}")
        temporary.mkdir(parents=True, exist_ok=True)
        return temporary

    def prepare(self) -> None:
        """Set this process up for the stage.

        Raises:
            RuntimeError: this process runs other code than the driver, or sees other images.
        """
        if (module := differs_here(self.code)) is not None:
            raise RuntimeError(
                f"worker process {os.getpid()} imports another version of {module} than the study's driver; submit the "
                "job with --working-dir . or install the same version on every node"
            )
        for sources, fingerprint in self.pixels.items():
            if open_store(sources, self.cache, progress=False).fingerprint != fingerprint:
                raise RuntimeError(
                    f"the images of {' + '.join(map(str, sources))} changed after the study began; run it again"
                )
        torch.set_num_threads(self.threads)
        keep_freed_memory()

    def carry_out(self, watch: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Carry the stage out in this process; its result for the ledger.

        Args:
            watch: called after every checkpoint; what it raises ends the stage.
        """
        with writing(f"stage {self.label}", self.runs):
            return self.stage.carry_out(self, watch)

    def settle(self, temporary: Path, result: Mapping[str, Any], meter: Meter) -> dict[str, Any]:
        """Move the complete folder to its place and drop what led there; the result, with `cost`, for the ledger."""
        cost = meter.cost()
        result = {"seconds": cost["seconds"], **result, "cost": cost}
        facts = {"key": self.key, "kind": self.stage.kind, "label": self.label, "attempt": self.attempt}
        facts |= {"finished": time.time(), "result": result, "files": hashes_of(temporary)}
        write_sealed(temporary / RESULT, facts)
        complete(temporary, self.folder)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.live.unlink(missing_ok=True)
        return result

    def live_rows(self) -> list[dict[str, float]]:
        """The curve so far; empty where there is none, or where the file has just gone or is damaged: it is only
        shown."""
        try:
            return read_rows(self.live)
        except (OSError, ValueError):
            return []
