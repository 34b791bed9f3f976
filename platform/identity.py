"""What a stage is, as text: the canonical form of its specification, and the version of the code that it runs."""

import ast
import dataclasses
import hashlib
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from deepblur.platform.sources import Source


def canonical(value: Any, fingerprints: Mapping[tuple[Source, ...], str]) -> Any:
    """`value` as plain JSON data: dataclasses by class name and fields, sources by the fingerprint of their pixels."""
    if isinstance(value, tuple) and all(isinstance(v, Source) for v in value) and value in fingerprints:
        return {"pixels": fingerprints[value]}
    if isinstance(value, Source):
        raise ValueError(f"no fingerprint is known for {value}; open its store before asking for a stage's key")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: canonical(getattr(value, f.name), fingerprints) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, (tuple, list)):
        return [canonical(v, fingerprints) for v in value]
    if isinstance(value, Mapping):
        return {str(k): canonical(v, fingerprints) for k, v in value.items()}
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"a specification holds plain values only; got {type(value).__name__}: {value!r}")


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """A specification as dotted names → text, for tables and MLflow: 'degradation.eta_waves' → '0.1'."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        parts = [flatten(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in value.items()]
        return {name: text for part in parts for name, text in part.items()}
    if isinstance(value, tuple) and any(dataclasses.is_dataclass(v) for v in value):
        return {prefix: " + ".join(str(v) for v in value)}
    return {prefix: str(value)}


@cache
def code_version(parts: tuple[str, ...]) -> str:
    """Hash of the code in the named folders and modules, blind to comments, docstrings and layout."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        for file in _files(part):
            digest.update(file.name.encode())
            digest.update(ast.dump(_without_docstrings(ast.parse(file.read_text(encoding="utf-8")))).encode())
    return digest.hexdigest()


@cache
def with_imports(part: str) -> tuple[str, ...]:
    """A module, such as "baselines/tv", and the modules of its own room that it imports, directly or not."""
    room = part.partition("/")[0]
    found: set[str] = set()
    ahead = [part]
    while ahead:
        module = ahead.pop()
        if module not in found:
            found.add(module)
            for node in ast.walk(ast.parse(_files(module)[0].read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"deepblur.{room}."):
                    ahead.append(str(node.module).removeprefix("deepblur.").replace(".", "/"))
    return tuple(sorted(found))


def _files(part: str) -> list[Path]:
    spec = importlib.util.find_spec("deepblur." + part.replace("/", "."))
    if spec is None:
        raise ModuleNotFoundError(f"a stage names the code deepblur/{part}, which this installation lacks")
    if spec.submodule_search_locations:
        return sorted(Path(next(iter(spec.submodule_search_locations))).glob("*.py"))
    return [Path(str(spec.origin))]


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]  # type: ignore[attr-defined]
    return tree
