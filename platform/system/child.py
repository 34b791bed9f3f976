"""The environment of processes that run code of a record or a registry: what Python, torch and Ray need, no secrets."""

import os
import re

_NAMES = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TERM", "TZ", "TMPDIR", "TEMP", "TMP",
          "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "MPLBACKEND", "MPLCONFIGDIR")  # fmt: skip
_KINDS = ("LC_", "XDG_", "PYTHON", "DEEPBLUR_", "RAY_", "OMP_", "MKL_", "KMP_", "GOMP_", "OPENBLAS_", "NUMEXPR_",
          "MALLOC_", "TORCH", "PYTORCH_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "HIP_")  # fmt: skip
_SECRET = re.compile(r"PASS|TOKEN|SECRET|CREDENTIAL|KEY", re.IGNORECASE)


def environment(*also: str) -> dict[str, str]:
    """The variables of this process that a child gets: those above, and `also` whatever their names say.

    A list of what is needed and not of what is secret: nobody knows all names of secrets.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name in also or ((name in _NAMES or name.startswith(_KINDS)) and not _SECRET.search(name))
    }
