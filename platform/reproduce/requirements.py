"""Whether everything that a recorded run was made from is here: source, study, files, data, hardware, versions."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepblur.platform.data.sources import parse_data, parse_test
from deepblur.platform.data.store import open_store
from deepblur.platform.experiment.provenance import INPUTS, OWN, STUDY_FILE, circumstances
from deepblur.platform.reproduce.recorded_run import RunRecord
from deepblur.platform.system import source_tree
from deepblur.platform.system.enclosed import inside
from deepblur.platform.system.seal import sha256

NOTED = ("python", "ray", "mlflow", "processor")
"""Circumstances that the bits of a result do not depend on."""


@dataclass(frozen=True)
class Requirement:
    """One thing that the run was made from, as it was recorded and as it is here."""

    name: str
    recorded: str
    here: str
    verdict: Literal["same", "noted", "unknown", "differs", "missing"]
    """noted: it differs, and results do not depend on it; unknown: nobody can tell whether it is the same."""


class Requirements:
    """Brings together what a run was made from: the source, its study file, the command line.

    `root`, `study`, `options`, `path` and `foreign` hold once `look` has been called; `study` is None where the source
    or it is missing.
    """

    def __init__(self, record: RunRecord, runs: Path, stack: ExitStack, source: Path | None = None) -> None:
        """source: a folder with the deepblur that recorded the run, which the user names."""
        self.record, self.runs, self._stack, self._named = record, runs, stack, source
        self.made = record.provenance
        self.root: Path | None = None
        self.study: Path | None = None
        self.options: dict[str, Any] = dict(self.made["options"])
        self.path: list[Path] = []
        """Where Python finds what is run."""
        self.foreign: list[str] = []
        """What would run and is neither installed here nor named nor the user's own, each with where it comes from."""

    def look(self, *, data: str | None = None, test: str | None = None, local: bool = False) -> list[Requirement]:
        """Every requirement; data and test say where the images lie now, if elsewhere; local: run without Ray."""
        given = {"data": data, "test": test, "local": local and self.made["made_with"]["workers"] == "1"}
        self.options |= {name: value for name, value in given.items() if value}
        if part := self.made["part"]:
            self.options |= {"arms": part["arm"], "seeds": str(part["seed"])}
        found = [self._source()]
        if self.root is not None:
            found += self._study(self.root)
        return [*found, *self._inputs(), *self._data(), *self._circumstances(), *self._otherwise()]

    def _source(self) -> Requirement:
        source, installed = self.made["source"], source_tree.root()
        recorded = f"{(source['commit'] or 'no commit')[:12]}{'+' if source['differs'] else ''}, {source['hash'][:12]}"

        def requirement(here: str, verdict: Any) -> Requirement:
            return Requirement("source", recorded, here, verdict)

        if source_tree.source_hash(installed) == source["hash"]:
            self.root = installed
            return requirement("the installed one", "same")
        if self._named is not None:
            if not (self._named / "deepblur" / "__init__.py").is_file():
                raise ValueError(
                    f"--source {self._named} is no source of deepblur; name the folder that holds deepblur/"
                )
            named = source_tree.source_hash(self._named)
            if named != source["hash"]:
                raise ValueError(
                    f"--source {self._named} has the hash {named}, and the run was made by {source['hash']}; check "
                    "that version out there, or leave --source out"
                )
            self.root = self._named.resolve()
            return requirement(f"the one at {self._named}", "same")
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
            return requirement(str(error), "missing")
        here = source_tree.source_hash(self.root)
        self.foreign.append(f"the source {here}, {how}")
        return requirement(f"{how}, {here[:12]}", "same" if here == source["hash"] else "differs")

    def _study(self, root: Path) -> Iterator[Requirement]:
        """The study's file and the user's own modules: in the source, where they lay, or as the record keeps them."""
        study = self.made["study"]
        parts = {f"{INPUTS}/{STUDY_FILE}": study, **study.get("modules", {})}
        lie = {name: _place(root, part["file"]) for name, part in parts.items()}
        there = all(_is(lie[name], part["sha256"]) and _is_mine(lie[name], root) for name, part in parts.items())
        in_a_room = study["file"].partition("/")[0] in source_tree.ROOMS  # and so in the hash of the source
        if there and not in_a_room and not any(map(_uses_deepblur, lie.values())):  # any file of this machine
            self.foreign.append(f"{study['file']}, which the record calls its study, though it does not use deepblur")
        if not there:
            lie |= self._kept({name: part for name, part in parts.items() if Path(part["file"]).is_absolute()})
        self.path = [source_tree.path_of(root)]
        for name, part in parts.items():
            file, label = lie[name], "study" if part is study else f"module {Path(name).relative_to(OWN)}"
            if not file.is_file():
                yield Requirement(label, part["file"], "not as it was, and the record does not keep it", "missing")
                continue
            kept = file.is_relative_to(self.runs)
            if kept:
                self.foreign.append(f"{label} {part['file']} as the record keeps it")
                self.path = [source_tree.path_of(root), self.runs / OWN]
            if part is study:
                self.study = file
            same = _is(file, part["sha256"])
            here = "as the record keeps it" if kept else part["file"] if same else "other content"
            yield Requirement(label, part["file"], here, "same" if same else "differs")

    def _kept(self, parts: dict[str, Any]) -> dict[str, Path]:
        """Those files as the record keeps them, laid out so that the study imports the modules."""
        found = {}
        for name, part in parts.items():
            lies = name.removeprefix(f"{OWN}/") if name.startswith(f"{OWN}/") else Path(part["file"]).name
            found[name] = inside(self.runs, f"{OWN}/{lies}")
            with contextlib.suppress(FileNotFoundError):
                _put(found[name], self.record.attachment(name))
        return found

    def _inputs(self) -> Iterator[Requirement]:
        """Files that settings name, as the record keeps them."""
        for name, described in self.made["inputs"].items():
            file = inside(self.runs, f"{INPUTS}/{name}/{described['file']}")
            try:
                _put(file, self.record.attachment(f"{INPUTS}/{name}"))
            except FileNotFoundError as error:
                yield Requirement(name, described["file"], str(error), "missing")
                continue
            self.options["set"] = [*self.options.get("set", []), f"{name}={file}"]
            same = _is(file, described["sha256"])
            yield Requirement(name, described["file"], "as the record keeps it", "same" if same else "differs")

    def _data(self) -> Iterator[Requirement]:
        data = parse_data(self.options["data"])
        sources = {"train": data.train, "validation": data.validation, "test": data.test}
        if "test" in self.options:
            sources["test"] = parse_test(self.options["test"])
        for role, seen in self.made["data"].items():
            name, recorded = f"data, {role}", f"{seen['sources']}, {seen['fingerprint']}"
            try:
                here = open_store(sources[role], self.runs / "cache").fingerprint
            except (OSError, ValueError) as error:
                yield Requirement(name, recorded, str(error), "missing")
                continue
            if here == seen["fingerprint"]:
                yield Requirement(name, recorded, recorded, "same")
            else:
                yield Requirement(name, recorded, f"{' + '.join(map(str, sources[role]))}, {here}", "differs")

    def _circumstances(self) -> Iterator[Requirement]:
        recorded = self.made["made_with"]
        gpu = float(self.options.get("gpus", 0)) > 0 or bool(self.options.get("local"))
        cores = len(os.sched_getaffinity(0))
        threads = recorded["threads"] if recorded["threads"] <= cores else f"{cores} cores"
        here = circumstances(workers=recorded["workers"], threads=threads, gpu=gpu)
        for name, value in recorded.items():
            verdict: Any = "same" if here.get(name) == value else "noted" if name in NOTED else "differs"
            if name == "workers" and "-" in value:  # how many there were, and when, is no part of the specification
                verdict = "unknown"
            yield Requirement(name, str(value), str(here.get(name, "not known")), verdict)

    def _otherwise(self) -> Iterator[Requirement]:
        """Stages that the run reused and that were made under other circumstances than its own."""
        for stage in self.made["outcome"]["stages"].values():
            if (made := stage.get("made_otherwise")) is not None:
                matters = {name: value for name, value in made.items() if name not in NOTED}
                said = ", ".join(f"{name} {value}" for name, value in made.items()) or "nobody noted under which"
                verdict: Any = "unknown" if not made else "differs" if matters else "noted"
                yield Requirement(f"circumstances of {stage['label']}", said, "those of the run", verdict)


def _place(root: Path, name: str) -> Path:
    """Where the record says that a file lies: below the source, or anywhere."""
    return Path(name) if Path(name).is_absolute() else inside(root, name)


def _is_mine(file: Path, root: Path) -> bool:
    """Whether nobody else of this machine can have put a file there; the source itself is told by its hash."""
    found = file.stat()
    return file.is_relative_to(root) or (found.st_uid in (0, os.getuid()) and not found.st_mode & stat.S_IWOTH)


def _uses_deepblur(file: Path) -> bool:
    return re.search(rb"^\s*(from|import)\s+deepblur\b", file.read_bytes(), re.MULTILINE) is not None


def _put(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _is(file: Path, hashed: str) -> bool:
    return file.is_file() and sha256(file) == hashed
