"""Files that other software runs: ONNX by torch's exporter, and torch's own exported programs."""

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deepblur.platform.system.errors import USAGE, RestorationError

OPSET = 18
"""The oldest that torch's exporter writes without a conversion, for the widest choice of runtimes."""
_ONNX = ("onnx", "onnxscript", "onnxruntime")
PACKAGES: dict[str, tuple[str, ...]] = {
    "torch": (),
    "onnx": _ONNX,
    "bioimage": (*_ONNX, "bioimageio.core", "bioimageio.spec"),
}
"""What each format needs beyond deepblur itself."""


class MissingExtraError(RestorationError):
    """A package of the extra "export" is not installed."""

    exit_code = USAGE


def require(*formats: str) -> None:
    """Raises MissingExtraError unless the packages of these formats are installed."""
    missing = {name: None for each in formats for name in PACKAGES[each] if not _installed(name)}
    if missing:
        raise MissingExtraError(f"the export needs {', '.join(missing)}; pip install 'deepblur[export]'")


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package that the module lies in
        return False


def program_of(network: nn.Module, example: Sequence[Tensor]) -> torch.export.ExportedProgram:
    """The network's graph for any batch and the sizes of the example, whose batch is at least 2."""
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's of its own
        return torch.export.export(
            network, tuple(example), dynamic_shapes=tuple({0: batch} for _ in example), strict=False
        )


def write_onnx(
    program: torch.export.ExportedProgram, file: Path, inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    """One file that holds its weights too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = torch.onnx.export(
            program, input_names=list(inputs), output_names=list(outputs), opset_version=OPSET, dynamo=True,
            verbose=False, external_data=False,
        )  # fmt: skip
        assert written is not None
        written.save(str(file))


def run_onnx(file: Path, inputs: dict[str, Tensor]) -> list[Tensor]:
    """What onnxruntime computes on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return [torch.from_numpy(np.asarray(value)) for value in found]


def write_program(program: torch.export.ExportedProgram, file: Path) -> None:
    """A file that `torch.export.load` opens where deepblur is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.export.save(program, file)
        except RuntimeError as error:  # torch's own writer knows no OSError
            raise OSError(str(error).partition("\n")[0]) from None


def run_program(file: Path, inputs: Sequence[Tensor]) -> list[Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = torch.export.load(file).module()
    with torch.inference_mode():
        found = network(*inputs)
    return list(found) if isinstance(found, tuple | list) else [found]
