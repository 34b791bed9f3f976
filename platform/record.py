"""What a study leaves in MLflow for people to look at: a parent run, a run per IN and per arm and seed, and the models.

MLflow is never the truth: the ledger is. Rows that MLflow missed are sent again by the next run of the same command.
"""

import hashlib
import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepblur.platform.execution import Work, load_network, note, read_rows
from deepblur.platform.ledger import Ledger
from deepblur.platform.model import save_model
from deepblur.platform.plots import png
from deepblur.platform.report import write_report
from deepblur.platform.results import GAINS, StudyResult, summary_table
from deepblur.platform.stages import flatten
from deepblur.platform.study_cli import Plan
from deepblur.platform.tracking import NoTracker, Tracker, default_uri
from deepblur.platform.verdict import text_summary

if TYPE_CHECKING:
    from deepblur.platform.study_run import Graph

NOWHERE = "none"
SYNC_S = 5.0
"""Seconds between two looks at the growing curves."""


class Record:
    """The MLflow runs of one study and its report folder."""

    def __init__(self, plan: Plan, graph: "Graph", ledger: Ledger) -> None:
        self.plan, self.graph, self.ledger = plan, graph, ledger
        text = "/".join([plan.study.name, *plan.contrast, *(f"{a}:{s}:{k}" for (a, s), k in graph.evaluations.items())])
        self.key = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self.folder = plan.runs / "studies" / f"{plan.study.name}-{self.key}"
        self.tracker = _open_tracker(plan)
        tags = {"preset": plan.preset, "mlflow.source.git.commit": commit(), "command": plan.command}
        shared = {"preset": plan.preset, "seeds": str(plan.seeds), **flatten(plan.grid, "grid")}
        self.parent = self.tracker.study_run(
            key=self.key, name=f"{plan.study.name} {plan.preset}", params=shared, tags=tags
        )
        self.children = self._children()
        self.synced = 0.0
        for key in graph.works:
            if ledger.done(key) is not None:
                self.stage_done(graph.works[key])

    def _children(self) -> dict[str, list[str]]:
        """Key of a stage → the runs that show it: an IN has its own, a DN and its evaluation share their arm's."""
        children: dict[str, list[str]] = {}
        for (arm, seed), evaluation in self.graph.evaluations.items():
            inputs, stages = self.graph.inputs(arm, seed), self.graph.arms[arm, seed]
            if inputs["identify"] not in children:
                work = self.graph.works[inputs["identify"]]
                run = self._child(
                    work.key, work.label, flatten(stages.identify), {"stage": "identify", "seed": str(seed)}
                )
                children[work.key] = [run]
            keywords = {"arm": arm, "seed": str(seed), **self.plan.study.keywords(arm, self.plan.settings)}
            tags = {"stage": "deblur", "arm": arm, "seed": str(seed)}
            run = self._child(f"{arm}/{seed}", f"{arm}, seed {seed}", keywords, tags)
            children.setdefault(inputs["deblur"], []).append(run)
            children.setdefault(evaluation, []).append(run)
        return children

    def _child(self, key: str, name: str, params: dict[str, str], tags: dict[str, str]) -> str:
        return self.tracker.child_run(parent=self.parent, key=f"{self.key}/{key}", name=name, params=params, tags=tags)

    def follow(self, running: list[Work]) -> None:
        """Send the curves as they grow."""
        if time.time() - self.synced < SYNC_S:
            return
        self.synced = time.time()
        for work in running:
            self._rows(work.key, read_rows(work.live))

    def stage_done(self, work: Work) -> None:
        """Send a finished stage's whole curve, or its means over the grid."""
        if work.stage.kind != "evaluate":
            self._rows(work.key, read_rows(self.ledger.folder(work.key) / "curve.jsonl"))
            return
        result = self.ledger.done(work.key) or {}
        for run in self.children[work.key]:
            self.tracker.log_metrics(run, {f"test_{name}": value for name, value in result.items()})

    def _rows(self, key: str, rows: list[dict[str, float]]) -> None:
        for run in self.children[key]:
            self.tracker.log_rows(run, rows)

    def finish(self, result: StudyResult) -> None:
        """Write the report, log it, register the arms' models, and print the result."""
        report = write_report(result, self.folder)
        _write_pictures(result, self.folder / "pictures")
        self.tracker.log_folder(self.parent, self.folder)
        self.tracker.log_metrics(self.parent, _overall(result))
        self.tracker.log_tags(self.parent, {name.replace(", ", "."): value for name, value in result.facts.items()})
        note("\n" + text_summary(result) + "\n")
        for arm in self.plan.arms:
            self._register(arm, result)
        note(f"report  {report}")
        if self.plan.tracking_uri != NOWHERE:
            uri = self.plan.tracking_uri or default_uri(self.plan.runs)
            note(f"mlflow  {uri if uri.startswith('http') else f'mlflow ui --backend-store-uri {uri}'}")

    def _register(self, arm: str, result: StudyResult) -> None:
        """Register the arm's model of the seed that validated best, never of the one that tested best."""
        from deepblur.platform.registry import log_and_register

        seed = max(self.plan.seeds, key=lambda seed: self._validated(arm, seed))
        stages = self.graph.arms[arm, seed]
        operator = stages.identify.degradation.operator
        items = result.items[(result.items.arm == arm) & (result.items.seed == seed)]
        measures = ("psf_snr_db", "mean_psf_snr_db", "psnr_db", "blurry_psnr_db", "ssim", "blurry_ssim")
        provenance = {"study": self.plan.study.name, "preset": self.plan.preset, "arm": arm, "seed": str(seed)}
        folder = self.plan.runs / "models" / self.folder.name / arm
        save_model(
            folder,
            operator=operator,
            identifier_config={"num_parameters": operator.num_parameters, **stages.identify.network},
            identifier=load_network(self.plan.runs, self.graph.inputs(arm, seed)["identify"], stages.identify),
            deblurrer_config=stages.deblur.network,
            deblurrer=load_network(self.plan.runs, self.graph.inputs(arm, seed)["deblur"], stages.deblur),
            card={
                **provenance,
                "parameters": flatten(stages),
                "test_means": {name: float(items[name].mean()) for name in measures},
            },
        )
        example = result.pictures[0].blurry[None, None].astype(np.float32)
        run = self.children[self.graph.evaluations[arm, seed]][0]
        version = log_and_register(self.tracker, run, folder, tags=provenance, example=example)
        if version:
            note(f"model   models:/deepblur/{version} is arm {arm!r}, seed {seed}")

    def _validated(self, arm: str, seed: int) -> float:
        curve = read_rows(self.ledger.folder(self.graph.inputs(arm, seed)["deblur"]) / "curve.jsonl")
        return curve[-1]["val_psnr_db"]

    def close(self, ok: bool) -> None:
        for run in {run for runs in self.children.values() for run in runs}:
            self.tracker.finish(run, ok)
        self.tracker.finish(self.parent, ok)


def _open_tracker(plan: Plan) -> NoTracker:
    if plan.tracking_uri == NOWHERE:
        return NoTracker()
    uri = plan.tracking_uri or default_uri(plan.runs)
    return Tracker.open(uri, plan.study.name, plan.runs / "mlartifacts")


def commit() -> str:
    """The commit of the source tree, with a plus sign where the tree differs from it; 'unknown' outside a checkout."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("DEEPBLUR_COMMIT", "unknown")


def _write_pictures(result: StudyResult, folder: Path) -> None:
    """One strip a picture: blurry, restored by each arm, sharp; then the true and the estimated PSF."""
    folder.mkdir(exist_ok=True)
    for picture in result.pictures:
        images = [picture.blurry, *picture.restored.values(), picture.sharp]
        name = re.sub(r"[^\w.]+", "-", picture.title)
        (folder / f"{name}.png").write_bytes(png(np.concatenate(images, axis=1), side_px=1200))
        psfs = np.concatenate([picture.psf_true, picture.psf_estimated], axis=1)
        (folder / f"{name}-psf.png").write_bytes(png((psfs / psfs.max()).clip(0) ** 0.5))


def _overall(result: StudyResult) -> dict[str, float]:
    """The summary's overall means and intervals, by arm."""
    table = summary_table(result)
    rows = table[table["group"] == "all"].set_index("arm")
    return {
        f"{arm}/{name}": float(value)
        for arm, row in rows.iterrows()
        for name, value in row.items()
        if name.removesuffix("_low").removesuffix("_high") in GAINS
    }
