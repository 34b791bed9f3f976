"""How this process joins the cluster of a job or of its machine, or starts one of its own."""

import logging
import os
from collections.abc import Mapping

import ray
from ray._private import ray_constants
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
