"""How much memory a piece of work takes, of the processor that it runs on."""

import contextlib
from pathlib import Path

import torch


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
