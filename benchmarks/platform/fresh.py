"""A function in a process of its own, and what that process holds in memory."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import psutil


def fresh(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result, out of a new process that has ended by then."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def resident_mb() -> float:
    """Of this process and its children."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(process.memory_info().rss for process in processes) / 1e6
