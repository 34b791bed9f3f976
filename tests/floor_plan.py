"""The figures of the project's shape: `python tests/floor_plan.py [CHECKOUT]`, of any commit that has these folders.

A room is a folder of modules. A floor of rooms is how many rooms lie below one, one on the other, circles counted as
one room; a chain is the same of files.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

TOP = ("deepblur", "operators", "nets", "baselines", "platform", "restoration", "studies")


class FloorPlan:
    """Who imports what in a checkout, by the text of its files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = sorted(
            file.relative_to(root).as_posix() for top in TOP for file in _modules(root / top) if file.is_file()
        )

    @cached_property
    def arrows(self) -> dict[str, set[str]]:
        """File → the files of the project that it imports, in functions too."""
        return {file: {to for name, _ in self.imports(file) if (to := self.file_of(name)) not in (None, file)}
                for file in self.files}  # fmt: skip

    def imports(self, file: str) -> Iterable[tuple[str, int]]:
        """Each imported name in full, and how far its statement is indented: 0 at the top of the file."""
        for node in ast.walk(ast.parse((self.root / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.col_offset) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: imports are written deepblur.…, not relative"
                yield from ((f"{node.module}.{alias.name}", node.col_offset) for alias in node.names)

    def file_of(self, name: str) -> str | None:
        """The file that an imported name comes from; None where it is none of ours."""
        parts = name.split(".")
        if parts[0] != "deepblur":
            return None
        inside = "/".join(parts[1:])
        for path in (inside, inside.rpartition("/")[0], f"deepblur/{inside}", f"deepblur/{inside}".rpartition("/")[0]):
            for file in (f"{path}.py", f"{path}/__init__.py"):
                if path and file in self._known:
                    return file
        return None

    @cached_property
    def _known(self) -> set[str]:
        return set(self.files)

    @cached_property
    def rooms(self) -> dict[str, set[str]]:
        """Room → the other rooms that its files import from."""
        found: dict[str, set[str]] = {room_of(file): set() for file in self.files}
        for file, leads in self.arrows.items():
            found[room_of(file)] |= {room_of(to) for to in leads if to not in FACE} - {room_of(file)}
        return found


FACE = {"deepblur/__init__.py", "deepblur/_version.py"}
"""The package itself, which everything may import."""


def _modules(folder: Path) -> Iterable[Path]:
    """The modules of a folder, not through links: `deepblur/` may link to its neighbours."""
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if entry.is_symlink() or entry.name == "__pycache__":
            continue
        if entry.is_dir():
            yield from _modules(entry)
        elif entry.suffix == ".py":
            yield entry


def room_of(file: str) -> str:
    return file.rpartition("/")[0]


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """What leads back to itself: Tarjan's strongly connected components of more than one."""
    return [sorted(part) for part in _components(graph) if len(part) > 1]


def longest_chain(graph: Mapping[str, set[str]]) -> int:
    """Nodes on the longest path, a circle counted as one node."""
    parts = _components(graph)  # each after all that it leads to
    place = {node: i for i, part in enumerate(parts) for node in part}
    height: list[int] = []
    for i, part in enumerate(parts):
        height.append(1 + max((height[j] for n in part for to in graph[n] if (j := place[to]) != i), default=0))
    return max(height)


def _components(graph: Mapping[str, set[str]]) -> list[list[str]]:
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for to in sorted(graph[node]):
            if to not in index:
                visit(to)
            if to in stack:
                low[node] = min(low[node], low[to])
        if low[node] == index[node]:
            found.append(stack[stack.index(node) :])
            del stack[stack.index(node) :]

    for node in graph:
        if node not in index:
            visit(node)
    return found


def _argparse(tree: ast.AST) -> bool:
    return any(isinstance(node, ast.Attribute) and node.attr == "Namespace" for node in ast.walk(tree))


def figures(root: Path) -> dict[str, str]:
    plan = FloorPlan(root)
    wing = ("platform/", "restoration/")
    ours = [file for file in plan.files if file.startswith(wing)]
    trees = {file: ast.parse((root / file).read_text(encoding="utf-8")) for file in ours}
    lines = {file: (root / file).read_text(encoding="utf-8").count("\n") for file in ours}
    sizes = Counter(room_of(file) for file in ours if not file.endswith("__init__.py"))
    studies = {to for file in plan.files if file.startswith("studies/") for to in plan.arrows[file]}
    hidden = sum(1 for file in ours for name, indent in plan.imports(file) if indent and plan.file_of(name))
    checked = sum(
        len([part for part in node.body if isinstance(part, (ast.Import, ast.ImportFrom))])
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    )
    around = circles(plan.arrows)
    commands = ("platform/commands/", "restoration/commands/")
    return {
        "lines of platform and restoration": f"{sum(lines.values()):,}",
        "modules, rooms": f"{len(ours)}, {len(sizes)}",
        "most files in a room": "{1} ({0})".format(*max(sizes.items(), key=lambda item: item[1])),
        "floors of rooms": str(longest_chain(plan.rooms)),
        "circles of rooms": ", ".join(map(str, sorted(map(len, circles(plan.rooms)), reverse=True))) or "none",
        "circles of files, by size": ", ".join(map(str, sorted(map(len, around), reverse=True))) or "none",
        "longest chain of imports by file": str(longest_chain(plan.arrows)),
        "modules of the platform that studies import from": str(sum(to.startswith("platform/") for to in studies)),
        "imports of ours inside functions or under TYPE_CHECKING": f"{hidden}, of them {checked} for types",
        "modules with argparse.Namespace outside commands": str(
            sum(_argparse(tree) for file, tree in trees.items() if not file.startswith(commands))
        ),
        "files over 300 lines": str(sum(n > 300 for n in lines.values())),
    }


if __name__ == "__main__":
    found = figures(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
    for name, value in found.items():
        print(f"{name:58} {value}")
