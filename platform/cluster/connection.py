"""How this process joins the cluster of a job or of its machine, or starts one of its own."""

import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray
from ray._private import ray_constants, worker
from ray._raylet import Config  # type: ignore[attr-defined]

from deepblur.platform.cluster.address import keep_loopback, on_loopback, private_cluster, running_cluster


def set_for_ray(settings: Mapping[str, str]) -> None:
    """Settings of a cluster on the loopback interface, for this process and those that it starts."""
    os.environ.update(settings)
    Config.initialize("")  # Ray read the environment when it was imported
    ray_constants.ENABLE_RAY_CLUSTER = False


def connect() -> None:
    """Join the cluster of this job or machine, or start a local one that ends with this process."""
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cluster = running_cluster()
    own = cluster in (None, "local")
    if own or on_loopback(str(cluster)):
        set_for_ray(private_cluster() if own else keep_loopback())
    ray.init(
        "local" if own else cluster,
        # a dozen processes that nobody looks at; a cluster that is joined has its own
        include_dashboard=False if own else None,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}},
    )


@contextmanager
def joined(address: str) -> Iterator[None]:
    """For the length of the block this process belongs to a cluster that is there; it starts none.

    Args:
        address: HOST:PORT of the head, or auto, the cluster of this machine or of RAY_ADDRESS.
    Raises:
        ValueError: no cluster answers there, or it does not let us in.
    """
    if ray.is_initialized():
        yield
        return
    cluster = running_cluster() if address == "auto" else address
    if cluster is None:
        raise ValueError("--ray auto: no Ray cluster runs on this machine; start one with 'ray start --head'")
    found = re.fullmatch(r"\[?([^\s/\[\]]+)\]?:(\d{1,5})", cluster)
    if found is None:
        raise ValueError(f"--ray is HOST:PORT of a cluster's head, such as 10.0.0.1:6379, or auto; got {cluster}")
    try:
        socket.create_connection((found[1], int(found[2])), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"--ray {cluster}: no Ray cluster answers there ({error}); start one with 'ray start', or name another"
        ) from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if on_loopback(cluster):
        set_for_ray(keep_loopback())
    try:
        ray.init(cluster, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"--ray {cluster}: the cluster does not let this process in ({reason})") from None
    said = worker.print_to_stdstream
    worker.print_to_stdstream = _say_nothing
    try:
        yield
    finally:
        ray.shutdown()
        worker.print_to_stdstream = said


def _say_nothing(*_: object, **__: object) -> None:
    """Instead of Ray's lines about processes that died, on standard output, where results are expected as JSON."""
