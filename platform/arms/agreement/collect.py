"""From finished stages to the result of a study of agreement, its table and its report."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from deepblur.platform.arms.agreement.pairs import EXPOSURE, FRAME, KINDS, PARTS, VERDICTS, WHOLE, Found, judged, pairs
from deepblur.platform.evaluation.paired import mean_interval
from deepblur.platform.experiment.result import Result, header
from deepblur.platform.experiment.study import Graph, Plan
from deepblur.platform.report.answer import Answer, answer, answers_text
from deepblur.platform.report.numbers import DASH, fixed
from deepblur.platform.report.page import Picture, Section, Strip, cost_section
from deepblur.platform.report.style import png
from deepblur.platform.report.table import Column, Table
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.tracking.names import of_arm

AT_BOUND = 0.95
"""Share of η from which a coefficient counts as at the bound of the search."""
PSF_DISPLAY_GAMMA = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class AgreementResult(Result):
    """What each method's PSFs of the parts of each recording say of one another."""

    items: pd.DataFrame
    """A row per arm, seed and pair, as `pairs` gives it."""
    verdicts: pd.DataFrame
    """A row per arm, seed, recording and part: verdict and why."""
    found: Mapping[str, Mapping[str, Found]]
    """Arm → image → what was found, of the first seed."""

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(self.items["arm"]))

    @property
    def quarters(self) -> pd.DataFrame:
        return self.items[self.items["kind"] == "quarters"]

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row per arm and kind of pair, and one per arm and recording.

        Returns:
            Columns arm, recording, pairs, agreement_db with its interval over fields, least_db, at_bound (share of the
            coefficients), judged (parts that have a verdict), and the share of them with each of `VERDICTS`.
        """
        rows = []
        for arm in self.arms:
            mine, verdicts = (table[table["arm"] == arm] for table in (self.items, self.verdicts))
            quarter = verdicts["part"] != PARTS[WHOLE]
            for kind in KINDS:
                group, parts = mine[mine["kind"] == kind], verdicts[quarter]
                if kind != "quarters":
                    mark = EXPOSURE if kind == "exposures" else FRAME
                    parts = verdicts[~quarter & verdicts["image"].map(mark.search).notna()]
                if len(group):
                    rows.append({"arm": arm, "recording": f"all, {kind}", **_means(group), **_shares(parts)})
            for image, group in mine[mine["kind"] == "quarters"].groupby("image", sort=False):
                parts = verdicts[quarter & (verdicts["image"] == image)]
                rows.append({"arm": arm, "recording": str(image), **_means(group), **_shares(parts)})
        return pd.DataFrame(rows)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        return {"summary": self.summary, "items": self.items, "verdicts": self.verdicts}

    def answers(self) -> list[Answer]:
        assert self.contrast is not None
        known = self.quarters.dropna(subset="agreement_db")
        words = {"label": "Agreement of quarters", "unit": "dB", "decimals": 1}
        found = answer(known, self.contrast, "agreement_db", draw=("image", "pair"), cluster="field", **words)
        return [] if found is None else [found]

    def sentences(self) -> list[str]:
        assert self.contrast is not None
        return answers_text(self.contrast, self.answers(), self.arms)

    def table(self, *, each: bool = True) -> Table:
        """Of all recordings and, where `each` is true, of each of them."""
        columns = {
            "arm": Column("arm"),
            "recording": Column("recording", least=20),
            "pairs": Column("pairs", 0),
            "agreement_db": Column("agreement (dB)", 1, interval=True),
            "least_db": Column("least (dB)", 1),
            "at_bound": Column("at the bound (%)", 0, form=lambda share: fixed(100 * share, 0)),
            "said": Column("good, doubtful, poor (%)", 0),
        }
        caption = (
            "PSF of one part against that of another: mean power over that of the difference, a turn by 180° allowed. "
            "Intervals are 95 %, over fields. Then the coefficients at the bound of the search, and how many of the "
            "parts get which verdict on their restoration. An arm whose PSF does not depend on the image agrees with "
            "itself entirely and knows nothing."
        )
        summary = self.summary
        shares = summary[list(VERDICTS)].to_numpy(dtype=float)
        said = [", ".join(fixed(100 * share, 0) for share in row) if np.isfinite(row).all() else DASH for row in shares]
        return Table.of(
            summary.assign(said=said), columns, caption, rule="arm", bold=summary["recording"].str.startswith("all")
        )

    def sections(self) -> list[Section]:
        return [
            Section("Verdict", [self.sentences()]),
            Section("Agreement", [self.table()]),
            Section("PSFs of the parts", [*self._pictures()]),
            cost_section(self.cost),
        ]

    def _pictures(self) -> Iterator[Section]:
        """Per recording a strip for each method that finds PSFs: four quarters, and the whole."""
        for image in dict.fromkeys(image for found in self.found.values() for image in found):
            strips = []
            for arm, found in self.found.items():
                if image in found and np.isfinite(found[image].psfs).any():
                    names = [f"{arm}, quarter {i}" for i in range(1, 5)] + [f"{arm}, all"]
                    shown = zip(names, map(_picture, found[image].psfs), strict=True)
                    strips.append(Strip([Picture(name, picture) for name, picture in shown]))
            first = next(found[image].image for found in self.found.values() if image in found)
            yield Section(image, [Strip([Picture("recording", png(first))]), *strips])

    def text(self) -> str:
        return "\n".join(
            [f"{self.title} (preset {self.preset})", "", self.table(each=False).text(), "", *self.sentences()]
        )

    def metrics(self) -> dict[str, float]:
        rows = self.summary[self.summary["recording"] == "all, quarters"].to_dict("records")
        names = ("agreement_db", "at_bound", *VERDICTS)
        means = {of_arm(row["arm"], name): float(row[name]) for row in rows for name in names}
        contrast = {key: value for one in self.answers() for key, value in one.metrics("agreement_db").items()}
        return contrast | {name: value for name, value in means.items() if np.isfinite(value)}


def _picture(psf: np.ndarray) -> bytes:
    """(h / max)^γ as a PNG; black where there is no PSF."""
    return png((psf / psf.max()).clip(0) ** PSF_DISPLAY_GAMMA if np.isfinite(psf).all() else np.zeros_like(psf))


def _means(items: pd.DataFrame) -> dict[str, float]:
    known = items.dropna(subset="agreement_db")
    row = {"pairs": len(known), "agreement_db": np.nan, "agreement_db_low": np.nan, "agreement_db_high": np.nan}
    if len(known):
        found = mean_interval(known["agreement_db"], known["field"], np.random.default_rng(0), seeds=known["seed"])
        row |= {"agreement_db": found.mean, "agreement_db_low": found.low, "agreement_db_high": found.high}
    return row | {"least_db": known["agreement_db"].min(), "at_bound": items["at_bound"].mean()}


def _shares(parts: pd.DataFrame) -> dict[str, float]:
    known = parts[parts["verdict"] != ""]
    share = {verdict: float((known["verdict"] == verdict).mean()) if len(known) else np.nan for verdict in VERDICTS}
    return {"judged": len(known), **share}


def collect(plan: Plan, graph: Graph, ledger: Ledger, facts: dict[str, str]) -> AgreementResult:
    tables: list[pd.DataFrame] = []
    verdicts: list[pd.DataFrame] = []
    shown: dict[str, dict[str, Found]] = {}
    for (name, seed), keys in graph.results.items():
        found: dict[str, Found] = {}
        for key in keys:
            if (done := ledger.done(key)) is not None:  # one that took its process down is missing
                with np.load(ledger.folder(key) / "parts.npz") as arrays:
                    found[str(done["image"])] = Found(**{name: arrays[name] for name in Found._fields})
        shown.setdefault(name, found)
        bound = AT_BOUND * graph.arms[name, seed].method.degradation.eta_waves
        columns = ["kind", "image", "field", "pair", "agreement_db", "at_bound"]
        tables.append(pd.DataFrame(pairs(found, bound), columns=columns).assign(arm=name, seed=seed))
        columns = ["image", "part", "verdict", "why"]
        verdicts.append(pd.DataFrame(judged(found), columns=columns).assign(arm=name, seed=seed))
    items, parts = (pd.concat(frames, ignore_index=True) for frames in (tables, verdicts))
    return AgreementResult(**header(plan, facts, ledger, graph.works), items=items, verdicts=parts, found=shown)
