"""Fixtures that every room shares."""

import contextlib
import ctypes
import fcntl
import gc
import os
import signal
from importlib.metadata import version

import pytest
import torch
from torch import Tensor

# Ray's workers run at a niceness of 15, where the tests that run beside them would starve them for minutes.
os.environ.setdefault("RAY_worker_niceness", "0")
# A shell lets what it starts in the background ignore Ctrl-C, and so do the commands that are stopped by it here.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that at the end no worker waits for another."""
    first = ("test_ray", "test_pins", "test_on_a_cluster", "test_doors")
    order = {name: place for place, name in enumerate(first)}
    items.sort(key=lambda item: order.get(item.path.stem, len(first)))


@pytest.fixture(scope="module", autouse=True)
def _memory_given_back():
    """What a module leaves behind counts in the next one's --max-memory, for a test process does hundreds of them."""
    yield
    gc.collect()
    with contextlib.suppress(AttributeError):  # glibc keeps what was freed
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def draw(rng):
    """draw(*shape) → float64 standard normal numbers, the same in every run."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    return normal


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory):
    """An empty MLflow database to copy: making its tables takes seconds, so all test processes share one."""
    root = tmp_path_factory.getbasetemp().parent
    with open(root / "mlflow-template.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        template = root / f"mlflow-{version('mlflow')}.db"  # the folder may outlive an update of MLflow
        if not template.is_file():
            from deepblur.platform.tracking.connection import connect

            connect(f"sqlite:///{root}/mlflow-template-new.db")
            (root / "mlflow-template-new.db").rename(template)
    return template


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Model folders by quality: bad, fair, good."""
    from micro_registry import LAMS, tikhonov_model

    home = tmp_path_factory.mktemp("trained")
    return {name: tikhonov_model(home / name, lam, card={"study": "micro"}) for name, lam in LAMS.items()}


@pytest.fixture(scope="module")
def base(tmp_path_factory, mlflow_template, folders):
    """A registry with the versions 1 bad, 2 fair, 3 good and no champion; to be copied, not changed."""
    from micro_registry import add_version, empty_registry

    found = empty_registry(tmp_path_factory.mktemp("registry"), mlflow_template)
    for name, folder in folders.items():
        add_version(found, folder, arm=name)
    return found
