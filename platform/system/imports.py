"""What a file imports, by its import statements, and which of it is the user's own; and imports in less time."""

import ast
import gc
import importlib.machinery
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from deepblur.platform.system.source_tree import room_of


def own_modules(file: Path) -> dict[str, Path]:
    """Dotted name → file of the user's own modules that a file imports, directly or not; see `own_among`."""
    return own_among(imported_names(file))


def own_among(names: Iterable[str]) -> dict[str, Path]:
    """Dotted name → file of the user's own modules among imported names, and of those that these import.

    They are what lies neither in deepblur, nor in Python, nor among what is installed. Packages come with the
    `__init__` that importing from them runs. Found by the import statements, wherever they stand in the file.
    """
    found: dict[str, Path] = {}
    ahead = list(names)
    while ahead:
        parts = ahead.pop().split(".")
        for module in (".".join(parts[: n + 1]) for n in range(len(parts))):
            if module not in found and (lies := _locate(module)[0]) is not None and is_own(module, lies):
                found[module] = lies
                ahead += imported_names(lies, module if lies.name == "__init__.py" else module.rpartition(".")[0])
    return dict(sorted(found.items()))


def imported_names(file: Path, package: str = "") -> list[str]:
    """What a file's import statements name, a.b of `from a import b`: a module, or a name in one.

    What is imported for type checkers alone does not run and is left out.

    Args:
        package: the package that the file belongs to, for its relative imports.
    """
    return list(names_imported_by(file.read_bytes(), package)) if file.suffix == ".py" else []  # else compiled


@cache
def names_imported_by(content: bytes, package: str) -> tuple[str, ...]:
    """`imported_names` of a module's source."""
    names: list[str] = []
    try:
        ahead: list[ast.AST] = [ast.parse(content)]
    except (SyntaxError, ValueError):  # of another Python, and imported under a condition
        return ()
    while ahead:
        node = ahead.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            ahead += node.orelse
            continue
        ahead += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join(filter(None, [*up, node.module]))
            names += [f"{base}.{alias.name}" for alias in node.names]
    return tuple(dict.fromkeys(names))


def is_own(module: str, file: Path) -> bool:
    """Whether a module is the user's: not deepblur's, not Python's, not an installed one."""
    if module.partition(".")[0] == "deepblur" or room_of(file):
        return False
    if {"site-packages", "dist-packages"} & set(file.parts):
        return False
    return not any(file.is_relative_to(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib"))


def _locate(module: str) -> tuple[Path | None, list[str]]:
    """File of a module as it was imported, or as it would be, and the folders of its submodules. Nothing is imported.

    No file: a module without one, or none that can be found.
    """
    loaded = sys.modules.get(module)
    if loaded is not None:
        origin = getattr(loaded, "__file__", None)
        file = Path(origin).resolve() if origin and Path(origin).is_file() else None
        return file, list(getattr(loaded, "__path__", ()))
    parent, _, leaf = module.rpartition(".")
    if not parent:
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):  # a module that was made by hand has no spec
            spec = None
        if spec is None:
            return None, []
        file = Path(spec.origin).resolve() if spec.has_location and spec.origin else None
        return file, list(spec.submodule_search_locations or ())
    for place in map(Path, _locate(parent)[1]):
        if (place / leaf / "__init__.py").is_file():
            return (place / leaf / "__init__.py").resolve(), [str(place / leaf)]
        for suffix in importlib.machinery.all_suffixes():
            if (place / f"{leaf}{suffix}").is_file():
                return (place / f"{leaf}{suffix}").resolve(), []
        if (place / leaf).is_dir():
            return None, [str(place / leaf)]
    return None, []


@contextmanager
def unobserved() -> Iterator[None]:
    """For the length of the block Python's garbage collector stands aside.

    Large packages make some hundred thousand objects that stay; to look through them again and again takes a fifth of
    the time of their import.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
