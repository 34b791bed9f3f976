"""What removes a blur that is known: a classical restorer, or a network with the memory that it takes."""

from typing import Any, get_args

from torch import Tensor, nn

from deepblur.baselines import RESTORERS
from deepblur.baselines.nonblind import observe
from deepblur.nets import DRUNet
from deepblur.platform.models.light import Removal
from deepblur.platform.system.errors import ModelError
from deepblur.restoration.engines.names import Restorer

CLASSICAL_BYTES = 160.0
"""Memory of a classical restorer for each pixel of a tile, measured."""


def classical(restorer: Restorer, y: Tensor, psf: Tensor) -> Removal:
    """A non-blind restorer of deepblur.baselines whose strength is that of the whole image, for each of its tiles."""
    name = restorer.replace("-", "_")
    if name not in RESTORERS:
        raise ModelError(f"a restorer is one of {', '.join(get_args(Restorer))}; got {restorer}")
    known = observe(y, psf, None)
    strengths: dict[str, dict[str, Any]] = {
        "wiener": {"balance": known.balance},
        "tv": {"weight": known.weight, "penalty": known.penalty(known.weight)},
        "richardson_lucy": {"iterations": known.stop},
    }
    strength = strengths[name]
    sigma = float(known.noise * known.contrast)

    def restore(tile: Tensor, place: tuple[int, int]) -> Tensor:
        if tile.min() == tile.max():  # nothing to restore, and nothing that a restorer would accept
            return tile.clone()
        return RESTORERS[name](tile, psf, noise_std=sigma, **strength)

    return Removal(restore, {"restorer": restorer, "noise_std": sigma} | strength)


def network_bytes(deblurrer: nn.Module) -> float:
    """Bytes per pixel of a tile, from the channels at full resolution: 755 measured at 16 channels, 1345 at 32."""
    widths = [module.head.out_channels for module in deblurrer.modules() if isinstance(module, DRUNet)]
    return 160 + 48.0 * max(widths, default=32)
