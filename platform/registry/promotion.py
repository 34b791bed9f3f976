"""From a registered version to the champion that everyone restores with, through the gate, with the record of why."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pandas as pd

from deepblur.platform.models.card import LONGEST_DESCRIPTION, render
from deepblur.platform.models.model import BlindModel
from deepblur.platform.registry import kept_scores, packed_code
from deepblur.platform.registry.champion import ChampionAlias, ChampionMovedError
from deepblur.platform.registry.choice import Chosen, choose_model
from deepblur.platform.registry.clean_process import works_in_a_clean_process
from deepblur.platform.registry.gate import Decision, LatencyBound, Measure, compare, judge
from deepblur.platform.registry.gate_grid import GRID, GateGrid, score
from deepblur.platform.registry.lookup import fetched, registry
from deepblur.platform.registry.versions import open_registry
from deepblur.platform.system.errors import ModelError
from deepblur.platform.tracking.connection import first_line, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG = "gate."
BOUND = LatencyBound()
RETRIES = 5
CleanProcess = Callable[[Path, BlindModel], str]


@dataclass(frozen=True)
class Outcome:
    """version: what was asked to become champion; promoted: whether it is now; sentences: what happened; decision:
    None where nothing had to be decided."""

    version: str
    promoted: bool
    sentences: tuple[str, ...]
    decision: Decision | None = None


class Promoter:
    """Promotes versions of one registered model, and takes it back."""

    def __init__(
        self,
        uri: str,
        name: str,
        *,
        grid: GateGrid = GRID,
        bound: LatencyBound = BOUND,
        clean: CleanProcess = works_in_a_clean_process,
        trust: bool = False,
    ) -> None:
        """
        Args:
            uri: of the registry; name: of the registered model.
            clean: (folder of the MLflow model, the model as loaded here) → what goes wrong in a clean process.
            trust: promote versions whose code is not this deepblur's, which runs it.
        Raises:
            ModelError: nothing usable answers, or no model has this name.
        """
        self.uri, self.name = uri, name
        self.grid, self.bound, self.clean, self.trust = grid, bound, clean, trust
        self.client: MlflowClient = open_registry(uri, name)
        self.alias = ChampionAlias(self.client, name, uri)
        self._loaded: dict[str, Chosen] = {}  # a version never changes
        self._scores: dict[str, pd.DataFrame] = {}  # by `kept_scores.key_of`

    def promote(self, version: str) -> Outcome:
        """Send a version through the gate: it becomes champion, or challenger with the reason.

        Raises:
            ModelError: the version or the champion cannot be loaded, the version brings code that is not this
                deepblur's, or the registry fails.
        """
        with self._registry_errors(), ExitStack() as stack:
            sentences = self.alias.settle()
            if self.alias.read().champion != version:
                folder = stack.enter_context(self._copied(version))
            candidate = self._load(version)
            for _ in range(RETRIES):
                champion = self.alias.read().champion
                if champion == version:
                    return Outcome(version, True, (*sentences, f"version {version} is the champion already"))
                decision, kept = self._decide(version, candidate, champion, folder)
                sentences += kept
                self._record(version, candidate, decision)
                if not decision.passed:
                    self.alias.challenge(version)
                    sentences.append(f"version {version} is challenger: {decision.reason}")
                    return Outcome(version, False, tuple(sentences), decision)
                try:
                    self.alias.move(version, expected=champion, how="promote")
                except ChampionMovedError as moved:
                    meanwhile = f"version {moved} became champion meanwhile"
                    sentences.append(f"{meanwhile}, so version {version} is compared with it")
                    continue
                sentences.append(f"version {version} is champion: {decision.reason}")
                return Outcome(version, True, tuple(sentences), decision)
        raise ModelError(f"the champion of {self.name} changed {RETRIES} times meanwhile; promote again later")

    def rollback(self) -> Outcome:
        """Make the previous champion champion again.

        Raises:
            ModelError: there is none, it cannot be loaded, or the registry fails.
        """
        with self._registry_errors():
            sentences = self.alias.settle()
            state = self.alias.read()
            earlier = [reign.version for reign in state.reigns[:-1] if reign.version != state.champion]
            if state.champion is None or not earlier:
                raise ModelError(
                    f"{self.name} has no earlier champion to go back to; 'deepblur models list' shows its versions, "
                    "and 'deepblur models promote' makes one champion"
                )
            self._loaded.pop(earlier[-1], None)
            self._load(earlier[-1])  # a version whose files are gone must not become champion
            try:
                self.alias.back(earlier[-1], expected=state.champion)
            except ChampionMovedError as moved:
                raise ModelError(f"version {moved} became champion meanwhile; look, and roll back again") from None
            sentences.append(f"version {earlier[-1]} is champion again, instead of version {state.champion}")
            return Outcome(earlier[-1], True, tuple(sentences))

    def compare(self, version: str, other: str) -> Decision:
        """The gate's measurements of two versions, without any consequence.

        Raises:
            ModelError: a version cannot be loaded or measured.
        """
        with self._registry_errors():
            models = [self._load(v) for v in (version, other)]
            return compare(
                models[0].model, models[1].model, names=(version_name(version), version_name(other)),
                grid=self.grid, bound=self.bound, measure=self._measure([]),
            )  # fmt: skip

    @contextmanager
    def _copied(self, version: str) -> Iterator[Path]:
        """The MLflow model of a version, as nobody can change it any more; the clean process runs its code."""
        with registry(self.uri) as known, TemporaryDirectory(prefix="deepblur-") as scratch:
            found = known.version(self.name, version)
            with fetched(found, self.uri, Path()) as there:
                try:
                    foreign = packed_code.copy_of(there, Path(scratch), trust=self.trust)
                except ValueError as error:
                    raise ModelError(f"version {version} of {self.name} cannot be promoted: {error}") from None
            if foreign:
                more = f" and {len(foreign) - 3} more" * (len(foreign) > 3)
                raise ModelError(
                    f"version {version} of {self.name} brings code that is not this deepblur's "
                    f"({', '.join(foreign[:3])}{more}), and a promotion runs it: another deepblur registered it, or "
                    f"somebody changed it at {shown(found.location)}. 'deepblur models register "
                    f"models:/{self.name}/{version}' makes a version of the same model with this deepblur's code; or "
                    "give --trust if you know who can write there"
                )
            yield Path(scratch)

    def _decide(
        self, version: str, candidate: Chosen, champion: str | None, folder: Path
    ) -> tuple[Decision, list[str]]:
        """The decision, and whose scores had been measured before."""
        rival = None if champion is None else self._load(champion).model
        kept: list[str] = []
        decision = judge(
            candidate.model,
            rival,
            names=(version_name(version), version_name(champion or "none")),
            grid=self.grid,
            bound=self.bound,
            clean=lambda: self.clean(folder, candidate.model),
            measure=self._measure(kept, candidate=version),
        )
        return decision, kept

    def _measure(self, kept: list[str], candidate: str | None = None) -> Measure:
        """`score`, but for what was measured before, which `kept` then says.

        Args:
            candidate: of a promotion, for which the registry is not believed: who may register could write its scores.
        """

        def measure(model: BlindModel, grid: GateGrid) -> pd.DataFrame:
            key = kept_scores.key_of(model, grid)
            if key not in self._scores:
                version = next(version for version, chosen in self._loaded.items() if chosen.model is model)
                known = kept_scores.of_shipped(key, grid)
                if known is None and version != candidate:
                    known = self._kept(version, key, grid)
                if known is not None:
                    kept.append(
                        f"the scores of {version_name(version)} were measured before, by this code on this grid"
                    )
                self._scores[key] = score(model, grid) if known is None else known
            return self._scores[key]

        return measure

    def _kept(self, version: str, key: str, grid: GateGrid) -> pd.DataFrame | None:
        """The scores that a version got when it was a candidate, where they are those of the key."""
        found = self.client.get_model_version(self.name, version)
        if not found.run_id or found.tags.get(f"{TAG}scores") != key:
            return None
        with TemporaryDirectory(prefix="deepblur-") as scratch:
            try:
                file = self.client.download_artifacts(found.run_id, f"{_folder(version)}/{kept_scores.FILE}", scratch)
                text = Path(file).read_text(encoding="utf-8")
            except Exception:  # MLflow's or the store's own: what is not to be had is measured
                return None
            return kept_scores.read(text, key, grid)

    def _record(self, version: str, candidate: Chosen, decision: Decision) -> None:
        """The decision on the version (tags, description) and the evaluation with its run."""
        found = self.client.get_model_version(self.name, version)
        tags = {
            "decision": "passed" if decision.passed else "refused",
            "reason": decision.reason[:LONGEST_DESCRIPTION],
            "rival": decision.rival,
            "grid": decision.grid,
            "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **{name: f"{value:.4f}" for name, value in decision.figures.items()},
        }
        key = kept_scores.key_of(candidate.model, self.grid)
        if found.run_id:
            folder = _folder(version)
            if key in self._scores:
                scores = kept_scores.text_of(key, self._scores[key])
                self.client.log_text(found.run_id, scores, f"{folder}/{kept_scores.FILE}")
                tags["scores"] = key
            self.client.log_text(found.run_id, decision.items.to_csv(index=False), f"{folder}/observations.csv")
            self.client.log_text(found.run_id, decision.cells.to_csv(index=False), f"{folder}/cells.csv")
            self.client.log_text(found.run_id, json.dumps(decision.as_json(), indent=1), f"{folder}/decision.json")
        for old in found.tags:
            if old.startswith(TAG) and old.removeprefix(TAG) not in tags:
                self.client.delete_model_version_tag(self.name, version, old)
        for name, value in tags.items():
            self.client.set_model_version_tag(self.name, version, TAG + name, value)
        verdict = f"## Gate\n\n{tags['at']}, {tags['decision']}: {decision.reason}. On {decision.grid}.\n\n"
        card = render(candidate.model.card, f"{self.name}, version {version}")
        self.client.update_model_version(self.name, version, (verdict + card)[:LONGEST_DESCRIPTION])

    def _load(self, version: str) -> Chosen:
        if version not in self._loaded:
            self._loaded[version] = choose_model(self._uri_of(version), tracking_uri=self.uri)
        return self._loaded[version]

    def _uri_of(self, version: str) -> str:
        return f"models:/{self.name}/{version}"

    @contextmanager
    def _registry_errors(self) -> Iterator[None]:
        try:
            yield
        except ModelError:
            raise
        except Exception as error:  # MLflow's, a store's or a network's own
            raise ModelError(
                f"nothing could be decided ({first_line(error)}); mend that and give the command again"
            ) from error


def version_name(version: str) -> str:
    return f"version {version}"


def _folder(version: str) -> str:
    """Of the run that registered a version, what the gate found."""
    return f"gate/version-{version}"
