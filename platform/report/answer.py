"""The answer to the question that a study asks of two of its arms: yes, no or not shown, and what it rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from deepblur.platform.evaluation.paired import compare_to_reference
from deepblur.platform.report.numbers import SIGNIFICANT, bracketed, equals, signed


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one measure says of a study's contrast: first − second."""

    contrast: tuple[str, str]
    label: str
    unit: str = ""
    decimals: int = 2
    higher_is_better: bool = True
    difference: float
    low: float
    high: float
    p: float
    basis: str
    """The size of the sample in words."""

    @property
    def word(self) -> str:
        """Whether the first does better: yes or no where interval and test agree, else not shown."""
        sure = np.isfinite([self.low, self.high]).all() and (self.low > 0 or self.high < 0) and self.p < SIGNIFICANT
        return "not shown" if not sure else "yes" if (self.low > 0) == self.higher_is_better else "no"

    @property
    def sentence(self) -> str:
        first, second = self.contrast
        better = "" if self.higher_is_better else " (lower is better)"
        unit = f" {self.unit}" * bool(self.unit)
        return (
            f"{self.label}{better}, {first} − {second}: {signed(self.difference, self.decimals)}{unit}, 95 % interval "
            f"{bracketed(self.low, self.high, self.decimals)}, p {equals(self.p)}, {self.basis}: {self.word}."
        )

    def metrics(self, name: str) -> dict[str, float]:
        """For the record: contrast/NAME/difference, low, high and p; what is not known is left out."""
        found = {part: float(getattr(self, part)) for part in ("difference", "low", "high", "p")}
        return {f"contrast/{name}/{part}": value for part, value in found.items() if np.isfinite(value)}


def answer(
    items: pd.DataFrame, contrast: tuple[str, str], measure: str, *, draw: Sequence[str], cluster: str, **words: Any
) -> Answer | None:
    """The contrast in one measure, from a row per score (arm, seed, the columns `draw`); None without a shared draw.

    Args:
        cluster: column of what is independent, such as the image.
        words: label, unit, decimals and higher_is_better of an Answer.
    """
    first, second = contrast
    rows = items[items["arm"].isin(contrast)]
    if first == second or set(rows["arm"]) != {first, second}:
        return None
    found = compare_to_reference(rows, second, measure, draw=draw, cluster=cluster).iloc[0]
    if not found["n_values"]:
        return None
    figures: dict[str, Any] = {"difference": found["mean"], **{name: found[name] for name in ("low", "high", "p")}}
    counts = {"draws": found["n_values"], "images": found["n_clusters"], "seeds": found["n_seeds"]}
    return Answer(contrast=contrast, **figures, **{"basis": sample_text(counts), **words})


def answers_text(contrast: tuple[str, str], answers: Sequence[Answer], arms: Sequence[str]) -> list[str]:
    """The question of the contrast with its answer by the first measure, then each measure in a sentence."""
    first, second = contrast
    if not answers:
        absent = [arm for arm in dict.fromkeys(contrast) if arm not in arms]
        same = "it names one arm twice" if first == second else "they have no score in common"
        why = f"{' and '.join(absent)} not evaluated" if absent else same
        return [f"The contrast {first} − {second} was not compared: {why}."]
    return [question(contrast, answers[0].word), *(one.sentence for one in answers)]


def question(contrast: tuple[str, str], word: str) -> str:
    return f"Does {contrast[0]} do better than {contrast[1]}? {word.capitalize()}."


def sample_text(row: pd.Series | Mapping[str, int]) -> str:
    """The size of the sample in words."""
    counted = ((int(row[f"{unit}s"]), unit) for unit in ("draw", "image", "seed"))
    draws, images, seeds = (f"{count:,} {unit}{'s' * (count != 1)}" for count, unit in counted)
    return f"{draws} on {images}, {seeds}"
