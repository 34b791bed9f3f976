"""What people type for a method and for a restorer; nothing heavy is imported, for the help of commands names them."""

from typing import Literal, get_args

TRAINING_FREE = {"spectral": "spectral", "l0": "l0_gradient", "goldstein-fattal": "goldstein_fattal"}
"""Method → its name in deepblur.baselines.METHODS."""
METHODS = ("auto", "deep-blur", *TRAINING_FREE)
Restorer = Literal["deblur", "tv", "wiener", "richardson-lucy"]
RESTORERS = ("auto", *get_args(Restorer))
