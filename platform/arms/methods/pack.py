"""From a finished study to a model that ships: DN of one arm behind the spectral likelihood, halved and hashed.

`studies/compact.py` ends with this; what it leaves in RUNS/models is copied to weights/ by hand, once it is worth it.
"""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from deepblur.baselines import SpectralIdentifier
from deepblur.operators import ZernikeBlur
from deepblur.platform.arms.methods.method import Method
from deepblur.platform.data.store import open_store
from deepblur.platform.experiment.study import Graph, Plan
from deepblur.platform.models.card import LICENCE, licences, limits, render, trained_for
from deepblur.platform.models.model import save_model
from deepblur.platform.models.shipped import write_sums
from deepblur.platform.stages.identity import flatten
from deepblur.platform.system.printable import note
from deepblur.platform.system.source_tree import commit
from deepblur.platform.training.in_process import load_network
from deepblur.platform.training.specification import Deblur
from deepblur.platform.training.spectrum_reader import NETWORK

READER = "reader.safetensors"
"""In the folder of results: weights of a `SpectrumReader`, which then informs the likelihood."""


def pack(plan: Plan, graph: Graph, arm: str, *, name: str) -> Path | None:
    """Writes RUNS/models/NAME with the network of the arm's first seed.

    Args:
        plan: the study as it was carried out.
        graph: its stages, done.
        arm: name of the arm that trained a DN for the spectral likelihood.
        name: of the model's folder.
    Returns:
        The folder; None where the arm was left out.
    Raises:
        ValueError: the arm trained a network of its own, which a model of the registry cannot hold.
    """
    method = graph.arms.get((arm, plan.seeds[0]))
    if method is None:
        return None
    assert isinstance(method, Method)
    stage = next(stage for stage in method.networks if isinstance(stage, Deblur))
    if not isinstance(stage.network, dict):
        raise ValueError(f"a model holds no code, and the DN of {arm!r} is the study's own; pack another arm")
    degradation = stage.degradation
    assert isinstance(degradation.operator, ZernikeBlur)
    weights = plan.runs / READER
    config: dict[str, Any] = {"eta_waves": degradation.eta_waves, **({"reader": NETWORK} if weights.is_file() else {})}
    identifier = SpectralIdentifier(degradation.operator, **config)
    if identifier.reader is not None:
        identifier.reader.load_state_dict(load_file(weights))
    store = open_store(stage.train, plan.runs / "cache", progress=False)
    kinds = " + ".join(type(source).__name__ for source in stage.train)  # a path would say nothing elsewhere
    card = {
        "study": plan.study.name,
        "preset": plan.preset,
        "arm": arm,
        "seed": str(plan.seeds[0]),
        "commit": commit(),
        "trained": trained_for(degradation, kinds, len(store), store.fingerprint),
        "parameters": {name: text for name, text in flatten(stage).items() if name.startswith(("optim", "network"))},
        "limits": limits(degradation.operator, degradation.eta_waves),
        "licence": LICENCE,
        "data_licences": licences(stage.train),
    }
    folder = plan.runs / "models" / name
    save_model(
        folder,
        operator=degradation.operator,
        identifier_config={"method": "spectral", **config},
        identifier=identifier,
        deblurrer_config=stage.network,
        deblurrer=load_network(plan.runs, graph.inputs(arm, plan.seeds[0])["deblur"], stage),
        card=card,
        readme=render(card, f"deepblur {name}"),
        half=True,
    )
    write_sums(folder)
    note(f"model   {folder}: use it with deepblur restore --model {folder}")
    return folder
