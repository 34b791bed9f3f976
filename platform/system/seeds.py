"""The one path from a seed to random numbers: a stream is a pure function of (seed, purpose, index)."""

import hashlib

import torch


def stream(seed: int, purpose: str, *index: int) -> int:
    """A 63-bit seed for one purpose and index, the same on every machine and independent of the number of workers."""
    text = "/".join([str(seed), purpose, *map(str, index)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, purpose: str, *index: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator on `device` at the start of the stream (seed, purpose, index)."""
    return torch.Generator(device=device).manual_seed(stream(seed, purpose, *index))
