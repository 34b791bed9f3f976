"""How much memory a piece of work takes, of the processor that it runs on, and that it is taken once."""

import contextlib
import ctypes
from functools import cache
from pathlib import Path

import torch

# mallopt's parameters, of malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT_BYTES, _STEP_BYTES = 2**31 - 1, 2**26
_MMAPPED_BYTES = (2**30, 2**25)  # larger arrays go back to the system; older C libraries take the second at most


@cache
def keep_freed_memory() -> None:
    """This process keeps the memory of arrays that it frees, up to 2 GiB, for those that come; see `held_bytes`.

    The C library gives arrays of many megabytes back to the system at once, and a network asks for them again in each
    of its layers: to map every page anew takes longer than to compute it (1024x1024 pixels through the network of
    `compact`: 5.2 s, 1.9 s with this). Nothing happens where the C library is not GNU's.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        if any(mallopt(_MMAP_THRESHOLD, size) for size in _MMAPPED_BYTES):
            mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
            mallopt(_TOP_PAD, _STEP_BYTES)


def held_bytes() -> int:
    """By this process, without what it keeps of freed memory, which goes back to the system now."""
    import psutil  # which a registered model, that takes this file along, may lack

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return int(psutil.Process().memory_info().rss)


class PeakMemory:
    """The most memory that this process took beyond what it held at the start: the GPU's where there is one."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated() / 1e6
            return
        with contextlib.suppress(OSError):  # Linux: 5 sets the peak back to what is held now
            Path("/proc/self/clear_refs").write_text("5")
        self.before = _status_mb("VmRSS")

    def used_mb(self) -> float:
        """Megabytes; NaN where the system does not tell."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 1e6 - self.before
        return max(0.0, _status_mb("VmHWM") - self.before)


def _status_mb(field: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith(field + ":")), float("nan"))
