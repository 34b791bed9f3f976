"""The networks of a finished study, made into models: calibrated, described on a card, saved and registered."""

import numpy as np

from deepblur.platform.arms.trained.arm import Arm
from deepblur.platform.arms.trained.result import StudyResult
from deepblur.platform.data.store import open_store
from deepblur.platform.experiment.record import StagesRecord
from deepblur.platform.models.calibration import calibrate
from deepblur.platform.models.card import VALIDATED_TAG, make_card, render
from deepblur.platform.models.model import save_model
from deepblur.platform.stages.failure import describe_error
from deepblur.platform.stages.heartbeat import read_rows
from deepblur.platform.stages.identity import flatten
from deepblur.platform.system.disk import is_full
from deepblur.platform.system.printable import note
from deepblur.platform.system.source_tree import commit
from deepblur.platform.tracking.names import file_name
from deepblur.platform.training.in_process import load_network
from deepblur.platform.training.tasks import identifier_config


def register_models(record: StagesRecord, result: StudyResult) -> None:
    """A model of every arm whose networks can be one.

    A study is complete whether or not they are; only a disk that fails is another matter.
    """
    for arm in record.plan.arms:
        if arm in record.refused:
            continue
        try:
            _register(record, arm, result)
        except Exception as error:  # of whatever saves, loads, measures and describes a model
            if isinstance(error, OSError) or is_full(error):
                raise
            note(f"model   none of arm {arm!r} ({describe_error(error)}); all else is recorded")


def _register(record: StagesRecord, arm: str, result: StudyResult) -> None:
    """Register the arm's model of the seed that validated best, never of the one that tested best."""
    from deepblur.platform.registry.publish import log_and_register  # and with it MLflow

    plan, graph = record.plan, record.graph
    seed = max(plan.seeds, key=lambda seed: _validated(record, arm, seed))
    stages, keys, validated = graph.arms[arm, seed], graph.inputs(arm, seed), _validated(record, arm, seed)
    assert isinstance(stages, Arm)
    assert not callable(stages.deblur.network)  # an arm with an own network is refused before
    identify = stages.identify
    identifier = load_network(plan.runs, keys["identify"], identify)
    store, held = (open_store(sources, plan.runs / "cache", progress=False)
                   for sources in (identify.train, identify.validation))  # fmt: skip
    run = record.children[graph.results[arm, seed][0]][0]
    origin = {"study": plan.study.name, "preset": plan.preset, "arm": arm, "seed": str(seed)}
    card = make_card(
        {**origin, "commit": commit(), "run": run},
        identify.degradation,
        identify.train,
        result.items[(result.items.arm == arm) & (result.items.seed == seed)],
        parameters=flatten(stages),
        images=len(store),
        fingerprint=store.fingerprint,
        validated={"psnr_db": validated},
    )
    card["uncertainty"] = calibrate(identifier, identify.degradation, held)
    folder = plan.runs / "models" / record.folder.name / file_name(arm)
    save_model(
        folder,
        operator=identify.degradation.zernike,
        identifier_config=identifier_config(identify),
        identifier=identifier,
        deblurrer_config=stages.deblur.network,
        deblurrer=load_network(plan.runs, keys["deblur"], stages.deblur),
        card=card,
        readme=render(card),
    )
    version = log_and_register(
        record.tracker,
        run,
        folder,
        tags={**origin, VALIDATED_TAG: f"{validated:.3f}"},
        example=result.pictures[0].blurry[None, None].astype(np.float32),
        description=render(card, f"{arm}, seed {seed}"),
    )
    if version:
        note(f"model   models:/deepblur/{version} is arm {arm!r}, seed {seed}")


def _validated(record: StagesRecord, arm: str, seed: int) -> float:
    curve = read_rows(record.ledger.folder(record.graph.inputs(arm, seed)["deblur"]) / "curve.jsonl")
    return curve[-1]["val_psnr_db"]
