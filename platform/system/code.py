"""The version of the code that decides about a result, found by the import statements.

From the modules that carry something out and from those of the classes that it is told to use, a user's own included:
nobody has to keep a list, and what a module newly imports counts at once.
"""

import ast
import contextlib
import hashlib
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from deepblur.platform.system import imports, source_tree
from deepblur.platform.system.definition import definition

Doors = tuple[tuple[str, tuple[str, ...]], ...]


def code_of(
    parts: Iterable[str], objects: Iterable[Any], closed: tuple[str, ...] = (), doors: Doors = ()
) -> dict[str, str]:
    """Module → hash of its code, of every module that decides about a result.

    Args:
        parts: modules of the package that carry it out, such as "platform/training/trainer".
        objects: classes and functions that it is told to use; their modules count. Of a user's own module counts what
            the object rests on in it, "mine:Network", and all own modules that are imported there.
        closed, doors: see `with_imports`.
    Raises:
        ValueError: an object was typed in by hand: nobody could tell when its code changes.
    """
    named = {(base.__module__, getattr(base, "__qualname__", "").partition(".")[0], base is thing)
             for thing in objects for base in getattr(thing, "__mro__", (thing,))}  # fmt: skip
    return dict(_code_of(tuple(sorted(set(parts))), tuple(sorted(named)), closed, doors))


@cache
def _code_of(
    parts: tuple[str, ...], named: tuple[tuple[str, str, bool], ...], closed: tuple[str, ...], doors: Doors
) -> dict[str, str]:
    ahead, known, own = set(parts), dict[str, str](), dict[str, Path]()
    for module, name, direct in named:
        file = getattr(sys.modules.get(module), "__file__", None)
        if module.partition(".")[0] == "deepblur":
            ahead.add(module.removeprefix("deepblur.").replace(".", "/"))
        elif module.partition(".")[0] in sys.stdlib_module_names:
            continue
        elif file is None or not Path(file).is_file():
            raise ValueError(
                f"the study uses a class or function of the module {module}, which is no file, so that nobody can tell "
                "when its code changes; put it into a file and import it"
            )
        elif source_tree.room_of(Path(file).resolve()):  # a study of the package, run as a script
            ahead.add(Path(file).resolve().relative_to(source_tree.root()).with_suffix("").as_posix())
        elif imports.is_own(module, Path(file).resolve()):
            known[f"{module}:{name}"] = hash_of(Path(file), name)
            text = definition(_content(Path(file)), name)
            imported = imports.names_imported_by(text, sys.modules[module].__package__ or "")
            ahead |= set(_leads_to(module, imported, closed, doors))
            own |= imports.own_among(imported)
        elif direct:  # installed: what its bases are is its own matter, as torch is that of all networks
            known[module] = hash_of(Path(file))
    for name, file in own.items():
        known[name] = hash_of(file)
        ahead |= set(_leads_to(name, imports.imported_names(file), closed, doors))
    ahead = {part for part in ahead if not part.startswith(closed)}
    inside = with_imports(*ahead, closed=closed, doors=doors)
    return {part: hash_of(_file(part)) for part in inside} | dict(sorted(known.items()))


def differs_here(code: Mapping[str, str]) -> str | None:
    """The first module that this process has otherwise than the one that made `code`; None where all agree.

    What the main file of a study defines comes to other processes by value and cannot differ.
    """
    for name, seen in code.items():
        module, _, defined = name.partition(":")
        loaded = None if module == "__main__" else getattr(sys.modules.get(module), "__file__", None)
        file = _file(name) if "/" in name else loaded and Path(loaded)
        if file and hash_of(file, defined) != seen:
            return module
    return None


@cache
def with_imports(*parts: str, closed: tuple[str, ...] = (), doors: Doors = ()) -> tuple[str, ...]:
    """Modules of the package, such as "baselines/tv", and the modules that they import, directly or not.

    Args:
        closed: beginnings of the names of modules that do not count, nor what only they import.
        doors: module → the same for what this one imports.
    """
    found: set[str] = set()
    ahead = list(parts)
    while ahead:
        part = ahead.pop()
        if part not in found:
            found.add(part)
            ahead += _leads_to(part, imports.imported_names(_file(part)), closed, doors)
    return tuple(sorted(found))


def _leads_to(importer: str, names: Iterable[str], closed: tuple[str, ...], doors: Doors) -> list[str]:
    """The modules of the package that count because a module imports these names."""
    closed = (*closed, *dict(doors).get(importer, ()))
    found = [part for name in names for part in _parts_of(name)]
    if "/" not in importer or importer.startswith("studies/"):
        # a study's file imports what schedules and reports; of platform/ a stage counts what carries it out
        physics = ("operators/", "nets/", "baselines/", "platform/optics/")
        found = [part for part in found if part.startswith(physics)]
    return [part for part in found if not part.startswith(closed)]


@cache
def _parts_of(name: str) -> tuple[str, ...]:
    """The modules of the package that an imported name comes from: of a room's public names those that define them."""
    part = name.removeprefix("deepblur.").replace(".", "/")
    if part == name.replace(".", "/") or not part:
        return ()
    room, _, public = part.rpartition("/")
    if _exists(part):
        inside = _imports_of_room(part)
        return (part,) if inside is None else tuple(p for n in inside for p in _parts_of(n))
    if not room or not _exists(room):
        return ()
    inside = _imports_of_room(room)
    if inside is None:
        return (room,)
    meant = [n for n in inside if n.endswith(f".{public}")] or inside  # a table, such as METHODS, stands for all in it
    return tuple(p for n in meant for p in _parts_of(n))


def _imports_of_room(part: str) -> list[str] | None:
    """What a room's `__init__` imports; None for a module."""
    file = _file(part)
    return imports.imported_names(file) if file.name == "__init__.py" else None


def _exists(part: str) -> bool:
    return _file(part).is_file()


def _file(part: str) -> Path:
    folder = source_tree.root() / part
    return folder / "__init__.py" if folder.is_dir() else folder.with_name(f"{folder.name}.py")


@cache
def hash_of(file: Path, name: str = "") -> str:
    """Hash of a module's code, blind to comments, docstrings and layout, and the same in every version of Python.

    Args:
        name: of a function or class in it; then what this rests on counts alone.
    """
    content = _content(file)
    return _hash(definition(content, name) if name else content, file.suffix == ".py")


@cache  # what was imported stays what it was, however long the process runs and whoever edits the file meanwhile
def _content(file: Path) -> bytes:
    return file.read_bytes()


@cache
def _hash(content: bytes, python: bool) -> str:
    with contextlib.suppress(SyntaxError, ValueError):  # of another Python, and imported under a condition
        content = _plain(ast.parse(content)).encode() if python else content
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _plain(node: Any) -> str:
    """A syntax tree as text. `ast.dump` writes more or less of it from version to version: 3.12 added `type_params` to
    every function, 3.13 leaves out what is empty. Left out here: fields that hold nothing, and docstrings; constants
    are ASCII, because which characters `repr` escapes follows the Unicode of the version."""
    if isinstance(node, list):
        return f"[{','.join(map(_plain, node))}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = {name: getattr(node, name, None) for name in node._fields}
    if isinstance(body := fields.get("body"), list):
        fields["body"] = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    held = (f"{name}={_plain(value)}" for name, value in fields.items() if value is not None and value != [])
    return f"{type(node).__name__}({','.join(held)})"
