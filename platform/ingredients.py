"""Whether everything that a recorded run was made from is here: source, study, files, data, hardware, versions."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepblur.platform import source_tree
from deepblur.platform.image_store import open_store
from deepblur.platform.provenance import INPUTS, STUDY_FILE, circumstances
from deepblur.platform.run_record import RunRecord
from deepblur.platform.sources import parse_data, parse_test

NOTED = ("python", "ray", "mlflow", "processor")
"""Circumstances that the bits of a result do not depend on."""


@dataclass(frozen=True)
class Ingredient:
    """One thing that the run was made from, as it was recorded and as it is here."""

    name: str
    recorded: str
    here: str
    verdict: Literal["same", "noted", "unknown", "differs", "missing"]
    """noted: it differs, and results do not depend on it; unknown: nobody can tell whether it is the same."""


class Kitchen:
    """Brings together what a run was made from: the source, its study file, the command line.

    `root`, `study` and `options` hold once `look` has been called; `study` is None where the source or it is missing.
    """

    def __init__(self, record: RunRecord, runs: Path, stack: ExitStack) -> None:
        self.record, self.runs, self._stack = record, runs, stack
        self.made = record.provenance
        self.root: Path | None = None
        self.study: Path | None = None
        self.options: dict[str, Any] = dict(self.made["options"])

    def look(self, *, data: str | None = None, test: str | None = None, local: bool = False) -> list[Ingredient]:
        """Every ingredient; data and test say where the images lie now, if elsewhere; local: run without Ray."""
        given = {"data": data, "test": test, "local": local and self.made["made_with"]["workers"] == "1"}
        self.options |= {name: value for name, value in given.items() if value}
        if part := self.made["part"]:
            self.options |= {"arms": part["arm"], "seeds": str(part["seed"])}
        found = [self._source()]
        if self.root is not None:
            found.append(self._study(self.root))
        return [*found, *self._inputs(), *self._data(), *self._circumstances(), *self._otherwise()]

    def _source(self) -> Ingredient:
        source, installed = self.made["source"], source_tree.root()
        recorded = f"{(source['commit'] or 'no commit')[:12]}{'+' if source['differs'] else ''}, {source['hash'][:12]}"

        def ingredient(here: str, verdict: Any) -> Ingredient:
            return Ingredient("source", recorded, here, verdict)

        if source_tree.source_hash(installed) == source["hash"]:
            self.root = installed
            return ingredient("the installed one", "same")
        try:
            if source_tree.ARCHIVE in source["kept"]:
                content = self.record.attachment(source_tree.ARCHIVE)
                self.root, how = self._stack.enter_context(source_tree.unpacked(content)), "unpacked from the record"
            else:
                kept = source_tree.DIFF in source["kept"]
                diff = self.record.attachment(source_tree.DIFF) if kept else b""
                where = source_tree.repository(source["commit"], installed, Path.cwd())
                checkout = source_tree.checked_out(where, source["commit"], diff)
                self.root, how = self._stack.enter_context(checkout), "a worktree" + kept * " with the difference"
        except (FileNotFoundError, RuntimeError) as error:
            return ingredient(str(error), "missing")
        here = source_tree.source_hash(self.root)
        return ingredient(f"{how}, {here[:12]}", "same" if here == source["hash"] else "differs")

    def _study(self, root: Path) -> Ingredient:
        """The file in the source, or where it lay, or as the record keeps it."""
        study = self.made["study"]
        file = root / study["file"]  # an absolute path stays what it is
        kept = self.runs / INPUTS / STUDY_FILE
        if Path(study["file"]).is_absolute() and not _is(file, study["sha256"]):
            try:
                _put(kept, self.record.attachment(f"{INPUTS}/{STUDY_FILE}"))
                file = kept
            except FileNotFoundError as error:
                return Ingredient("study", study["file"], str(error), "missing")
        if not file.is_file():
            return Ingredient("study", study["file"], "no such file", "missing")
        self.study = file
        same = _is(file, study["sha256"])
        here = "as the record keeps it" if file == kept else study["file"] if same else "other content"
        return Ingredient("study", study["file"], here, "same" if same else "differs")

    def _inputs(self) -> Iterator[Ingredient]:
        """Files that settings name, as the record keeps them."""
        for name, described in self.made["inputs"].items():
            file = self.runs / INPUTS / name / described["file"]
            try:
                _put(file, self.record.attachment(f"{INPUTS}/{name}"))
            except FileNotFoundError as error:
                yield Ingredient(name, described["file"], str(error), "missing")
                continue
            self.options["set"] = [*self.options.get("set", []), f"{name}={file}"]
            same = _is(file, described["sha256"])
            yield Ingredient(name, described["file"], "as the record keeps it", "same" if same else "differs")

    def _data(self) -> Iterator[Ingredient]:
        data = parse_data(self.options["data"])
        sources = {"train": data.train, "validation": data.validation, "test": data.test}
        if "test" in self.options:
            sources["test"] = parse_test(self.options["test"])
        for role, seen in self.made["data"].items():
            name, recorded = f"data, {role}", f"{seen['sources']}, {seen['fingerprint']}"
            try:
                here = open_store(sources[role], self.runs / "cache").fingerprint
            except (OSError, ValueError) as error:
                yield Ingredient(name, recorded, str(error), "missing")
                continue
            if here == seen["fingerprint"]:
                yield Ingredient(name, recorded, recorded, "same")
            else:
                yield Ingredient(name, recorded, f"{' + '.join(map(str, sources[role]))}, {here}", "differs")

    def _circumstances(self) -> Iterator[Ingredient]:
        recorded = self.made["made_with"]
        gpu = float(self.options.get("gpus", 0)) > 0 or bool(self.options.get("local"))
        cores = len(os.sched_getaffinity(0))
        threads = recorded["threads"] if recorded["threads"] <= cores else f"{cores} cores"
        here = circumstances(workers=recorded["workers"], threads=threads, gpu=gpu)
        for name, value in recorded.items():
            verdict: Any = "same" if here.get(name) == value else "noted" if name in NOTED else "differs"
            if name == "workers" and "-" in value:  # how many there were, and when, is no part of the specification
                verdict = "unknown"
            yield Ingredient(name, str(value), str(here.get(name, "not known")), verdict)

    def _otherwise(self) -> Iterator[Ingredient]:
        """Stages that the run reused and that were made under other circumstances than its own."""
        for stage in self.made["outcome"]["stages"].values():
            if (made := stage.get("made_otherwise")) is not None:
                matters = {name: value for name, value in made.items() if name not in NOTED}
                said = ", ".join(f"{name} {value}" for name, value in made.items()) or "nobody noted under which"
                verdict: Any = "unknown" if not made else "differs" if matters else "noted"
                yield Ingredient(f"circumstances of {stage['label']}", said, "those of the run", verdict)


def _put(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _is(file: Path, sha256: str) -> bool:
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == sha256
