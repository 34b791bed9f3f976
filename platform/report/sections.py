"""What a study cost, as a section of its report."""

from deepblur.platform.report import page as markup
from deepblur.platform.stages.cost import CLASSES, Cost

_CAPTION = (
    "Core-seconds reserved by all attempts at the study's stages, whichever command made them, and what they were for: "
    "the result; work that a kill destroyed; attempts that failed; trainings given up early; starting and ending "
    "processes. Used is the processor time of the processes themselves."
)


def cost_section(cost: Cost | None) -> str:
    """HTML; empty where nothing is known."""
    if cost is None:
        return ""
    gpus = bool(cost.attempts["gpu_s"].sum())
    body = []
    for row in cost.stages.to_dict("records"):
        figures = [f"{row['stages']:,}", f"{row['attempts']:,}", *(f"{row[name]:,.1f}" for name in ("cpu_s", *CLASSES))]
        figures += [f"{row['cpu_used_s']:,.1f}", *([f"{row['gpu_s']:,.1f}"] if gpus else [])]
        body.append((markup.words(str(row["kind"])) + markup.numbers(*figures), ""))
    head = markup.headings("stage", numeric=False)
    head += markup.headings("stages", "attempts", "reserved", *CLASSES, "used", *(["GPU-s reserved"] if gpus else []))
    sentence = cost.sentence()
    return markup.table(head, body, _CAPTION) + markup.paragraph(f"{sentence[0].upper()}{sentence[1:]}.")
