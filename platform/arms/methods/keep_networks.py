"""The networks that a study trained for a calibrated microscope, put beside its optics for `deepblur restore`."""

from pathlib import Path

from deepblur.platform.arms.methods.method import Method
from deepblur.platform.experiment.study import Graph, Plan
from deepblur.platform.optics.family import FieldBlur, OpticsFile
from deepblur.platform.optics.networks import save_trained
from deepblur.platform.system.printable import note
from deepblur.platform.training.in_process import load_network
from deepblur.platform.training.specification import Deblur, Identify
from deepblur.platform.training.tasks import identifier_config


def keep_networks(plan: Plan, graph: Graph) -> None:
    """Writes those of the first arm that reads patches of optics in a file; nothing where there is none.

    Args:
        plan: the study as it was carried out.
        graph: its stages, done.
    """
    for (arm, seed), method in graph.arms.items():
        if not isinstance(method, Method) or (method.psf, method.image) != ("fitted", "deblur"):
            continue
        family = method.degradation.operator
        if not isinstance(family, FieldBlur) or not isinstance(family.source, OpticsFile):
            continue
        stages = {stage.kind: stage for stage in method.networks}
        identify, deblur, keys = stages["identify"], stages["deblur"], graph.inputs(arm, seed)
        assert isinstance(identify, Identify)
        assert isinstance(deblur, Deblur)
        if identify.own() or deblur.own():
            note("model   none beside the optics, for their networks are the study's own and a model holds no code")
            return
        assert isinstance(deblur.network, dict)
        noise = identify.degradation.noise
        folder = save_trained(
            family.source,
            identifier_config=identifier_config(identify),
            identifier=load_network(plan.runs, keys["identify"], identify),
            deblurrer_config=deblur.network,
            deblurrer=load_network(plan.runs, keys["deblur"], deblur),
            patch_px=identify.degradation.crop_px,
            card={
                "study": plan.study.name,
                "preset": plan.preset,
                "seed": seed,
                "noise_std": (noise.gain[1] * 0.5 + noise.read_std[1] ** 2) ** 0.5,
                "images": [str(source) for source in identify.train],
            },
        )
        note(f"model   {folder}: use it with deepblur restore --optics {Path(family.source.path).name}")
        return
