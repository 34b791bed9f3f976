"""What a study is written with: everything that the author of a study file imports, from one place.

What blurs, restores and trains lies in `deepblur.operators`, `deepblur.baselines` and `deepblur.nets`.
"""

from deepblur.baselines import Estimate
from deepblur.platform.arms.agreement.agreement import Agreement
from deepblur.platform.arms.methods.claims import HIGHEST_NOISE, Claim, paper_claims
from deepblur.platform.arms.methods.gallery import gallery
from deepblur.platform.arms.methods.keep_networks import keep_networks
from deepblur.platform.arms.methods.method import Method
from deepblur.platform.arms.methods.pack import pack
from deepblur.platform.arms.search.search import Pruner, Sampler, Search
from deepblur.platform.arms.trained.arm import Arm
from deepblur.platform.arms.tuning.space import Between, OneOf
from deepblur.platform.arms.tuning.tuned import read_tuned
from deepblur.platform.arms.tuning.tuning import Tuning
from deepblur.platform.arms.uncertainty.uncertainty import Answer, Uncertainty
from deepblur.platform.data.observations import Degradation
from deepblur.platform.data.sources import Data
from deepblur.platform.evaluation.levels import Grid, NoiseLevel, RealImages
from deepblur.platform.evaluation.measure import Metric
from deepblur.platform.experiment.main import Study
from deepblur.platform.experiment.study import Plan, Preset, extends
from deepblur.platform.models.shipped import reference_for
from deepblur.platform.optics.family import FieldBlur, OpticsFile, VirtualScope
from deepblur.platform.optics.simulate import Slide
from deepblur.platform.training.specification import Deblur, Identify, Joint, Optimization, Restore, Training

Doubt = Uncertainty  # for one release: what it was called

__all__ = [
    "HIGHEST_NOISE",
    "Agreement",
    "Answer",
    "Arm",
    "Between",
    "Claim",
    "Data",
    "Deblur",
    "Degradation",
    "Doubt",
    "Estimate",
    "FieldBlur",
    "Grid",
    "Identify",
    "Joint",
    "Method",
    "Metric",
    "NoiseLevel",
    "OneOf",
    "OpticsFile",
    "Optimization",
    "Plan",
    "Preset",
    "Pruner",
    "RealImages",
    "Restore",
    "Sampler",
    "Search",
    "Slide",
    "Study",
    "Training",
    "Tuning",
    "Uncertainty",
    "VirtualScope",
    "extends",
    "gallery",
    "keep_networks",
    "pack",
    "paper_claims",
    "read_tuned",
    "reference_for",
]
