"""How the workers of one training find each other: a process group of torch that listens on the node's own address.

Ray Train's own set-up lets the store of that group listen on all interfaces, where it believes anybody, even for a
training of one worker and in a cluster that is on the loopback interface alone.
"""

import contextlib
import os
import socket
from collections.abc import Iterator

import psutil
import ray.train
import torch
import torch.distributed as dist
from ray.train.backend import Backend
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import TorchConfig

from deepblur.platform.cluster.address import on_loopback


class _NoGroup(Backend):
    share_cuda_visible_devices = True  # as Ray's own for torch, which finds a worker's device by it


class OwnGroup(TorchConfig):
    """For TorchTrainer: the workers make their group themselves, with `process_group`."""

    @property
    def backend_cls(self) -> type[Backend]:
        return _NoGroup


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """The group of all workers of this training, for the length of the block; one worker needs none."""
    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    if size == 1:
        yield
        return
    listener = None
    if rank == 0:
        own = ray.util.get_node_ip_address()
        listener = socket.create_server((own, 0), family=socket.AF_INET6 if ":" in own else socket.AF_INET)
    host, port = broadcast_from_rank_zero(listener.getsockname()[:2] if listener else None)
    if on_loopback(f"{host}:{port}"):  # what is sent between the workers stays there too
        here = next(name for name, its in psutil.net_if_addrs().items() if any(a.address == host for a in its))
        os.environ.update(GLOO_SOCKET_IFNAME=here, NCCL_SOCKET_IFNAME=here)
    store = dist.TCPStore(
        host,
        port,
        is_master=rank == 0,
        wait_for_workers=False,
        master_listen_fd=listener.detach() if listener else None,
    )
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=size)
    yield
    dist.destroy_process_group()  # after an error the process ends, and to wait for others might take for ever
