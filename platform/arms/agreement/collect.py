"""From finished stages to the result of a study of agreement, its table and its report."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from deepblur.platform.evaluation.metrics import CEILING_DB
from deepblur.platform.evaluation.paired import mean_interval
from deepblur.platform.experiment.result import Result, header
from deepblur.platform.experiment.study import Graph, Plan
from deepblur.platform.report.answer import Answer, answer, answers_text
from deepblur.platform.report.numbers import fixed
from deepblur.platform.report.page import Picture, Section, Strip, cost_section
from deepblur.platform.report.style import png
from deepblur.platform.report.table import Column, Table
from deepblur.platform.stages.ledger import Ledger
from deepblur.platform.tracking.names import of_arm

AT_BOUND = 0.95
"""Share of η from which a coefficient counts as at the bound of the search."""
EXPOSURE = re.compile(r"_(high|low)snr")
"""What tells two exposures of one field apart, in the names of their files."""
EXPOSURES = "exposures"
PSF_DISPLAY_GAMMA = 0.5


class Found(NamedTuple):
    """What one method found in one recording, as `agreement.carry_out` keeps it."""

    psfs: np.ndarray
    gammas: np.ndarray
    image: np.ndarray


def agreement_db(a: np.ndarray, b: np.ndarray) -> float:
    """How like two PSFs (h, w) are: mean power over the power of their difference, in dB, at most `CEILING_DB`.

    The same whichever comes first, and whether or not one is turned by 180°, which no spectrum sees.
    """
    a, b = a.astype(float), b.astype(float)
    error = min(float(np.square(a - other).sum()) for other in (b, b[::-1, ::-1]))
    power = float(np.square(a).sum() + np.square(b).sum()) / 2
    return CEILING_DB if error == 0 else min(10 * np.log10(power / error), CEILING_DB)


def pairs(found: Mapping[str, Found], bound: float) -> Iterator[dict[str, Any]]:
    """A row per pair of parts: the quarters of each recording, and the exposures of each field.

    Args:
        found: image → what was found.
        bound: |γ| from which a coefficient is at the bound of the search, in waves.
    """

    def row(image: str, pair: str, one: tuple[Found, int], other: tuple[Found, int]) -> dict[str, Any]:
        psfs, gammas = ([getattr(recording, name)[part] for recording, part in (one, other)]
                        for name in ("psfs", "gammas"))  # fmt: skip
        known, stated = np.isfinite(psfs).all(), np.isfinite(gammas).all()
        return {
            "image": image,
            "pair": pair,
            "agreement_db": agreement_db(*psfs) if known else np.nan,
            "at_bound": float(np.mean(np.abs(gammas) >= bound)) if stated else np.nan,
        }

    fields: dict[str, list[Found]] = {}
    for image, recording in found.items():
        for i, k in combinations(range(4), 2):
            yield row(image, f"quarters {i + 1} and {k + 1}", (recording, i), (recording, k))
        fields.setdefault(EXPOSURE.sub("", image), []).append(recording)
    for field, recordings in fields.items():
        yield from (row(field, EXPOSURES, (one, 4), (other, 4)) for one, other in combinations(recordings, 2))


@dataclass(frozen=True, kw_only=True, eq=False)
class AgreementResult(Result):
    """What each method's PSFs of the parts of each recording say of one another."""

    items: pd.DataFrame
    """A row per arm, seed, recording and pair: agreement_db and at_bound, NaN where a PSF or γ was not found."""
    found: Mapping[str, Mapping[str, Found]]
    """Arm → image → what was found, of the first seed."""

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(self.items["arm"]))

    @property
    def quarters(self) -> pd.DataFrame:
        return self.items[self.items["pair"] != EXPOSURES]

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row per arm and recording, all recordings first: pairs, agreement_db with its interval over recordings and
        its least value, share of coefficients at the bound."""
        rows = []
        for arm in self.arms:
            mine = self.quarters[self.quarters["arm"] == arm]
            exposures = self.items[(self.items["arm"] == arm) & (self.items["pair"] == EXPOSURES)]
            groups = [("all, quarters", mine), ("all, exposures", exposures), *mine.groupby("image", sort=False)]
            rows += [{"arm": arm, "recording": str(name), **_means(group)} for name, group in groups if len(group)]
        return pd.DataFrame(rows)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        return {"summary": self.summary, "items": self.items}

    def answers(self) -> list[Answer]:
        assert self.contrast is not None
        known = self.quarters.dropna(subset="agreement_db")
        words = {"label": "Agreement of quarters", "unit": "dB", "decimals": 1}
        found = answer(known, self.contrast, "agreement_db", draw=("image", "pair"), cluster="image", **words)
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
        }
        caption = (
            "PSF of one part against that of another: mean power over that of the difference, a turn by 180° allowed. "
            "Intervals are 95 %, over recordings. Last, the coefficients at the bound of the search. An arm whose PSF "
            "does not depend on the image agrees with itself entirely and knows nothing."
        )
        return Table.of(
            self.summary, columns, caption, rule="arm", bold=self.summary["recording"].str.startswith("all")
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
        means = {of_arm(row["arm"], name): float(row[name]) for row in rows for name in ("agreement_db", "at_bound")}
        contrast = {key: value for one in self.answers() for key, value in one.metrics("agreement_db").items()}
        return contrast | {name: value for name, value in means.items() if np.isfinite(value)}


def _picture(psf: np.ndarray) -> bytes:
    """(h / max)^γ as a PNG; black where there is no PSF."""
    return png((psf / psf.max()).clip(0) ** PSF_DISPLAY_GAMMA if np.isfinite(psf).all() else np.zeros_like(psf))


def _means(items: pd.DataFrame) -> dict[str, float]:
    known = items.dropna(subset="agreement_db")
    row = {"pairs": len(known), "agreement_db": np.nan, "agreement_db_low": np.nan, "agreement_db_high": np.nan}
    if len(known):
        found = mean_interval(known["agreement_db"], known["image"], np.random.default_rng(0), seeds=known["seed"])
        row |= {"agreement_db": found.mean, "agreement_db_low": found.low, "agreement_db_high": found.high}
    return row | {"least_db": known["agreement_db"].min(), "at_bound": items["at_bound"].mean()}


def collect(plan: Plan, graph: Graph, ledger: Ledger, facts: dict[str, str]) -> AgreementResult:
    tables: list[pd.DataFrame] = []
    shown: dict[str, dict[str, Found]] = {}
    for (name, seed), keys in graph.results.items():
        found: dict[str, Found] = {}
        for key in keys:
            if (done := ledger.done(key)) is not None:  # one that took its process down is missing
                with np.load(ledger.folder(key) / "parts.npz") as arrays:
                    found[str(done["image"])] = Found(arrays["psfs"], arrays["gammas"], arrays["image"])
        shown.setdefault(name, found)
        bound = AT_BOUND * graph.arms[name, seed].method.degradation.eta_waves
        columns = ["image", "pair", "agreement_db", "at_bound"]
        tables.append(pd.DataFrame(pairs(found, bound), columns=columns).assign(arm=name, seed=seed))
    items = pd.concat(tables, ignore_index=True)
    return AgreementResult(**header(plan, facts, ledger, graph.works), items=items, found=shown)
