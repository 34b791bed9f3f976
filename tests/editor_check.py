"""Whether editors can follow the imports of `deepblur`, asked of Pyright; run by `make check`, not by pytest.

Pyright reads no `__path__`, only folders and the links in `deepblur/`. All imports go into one file, which it reads in
seconds; types and the imports of other packages are no matter of this check.
"""

import ast
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from floor_plan import TOP

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = {
    "extraPaths": [str(ROOT)],
    "typeCheckingMode": "off",
    "useLibraryCodeForTypes": False,
    "reportMissingImports": "error",
    "reportAttributeAccessIssue": "error",
}


def imports() -> dict[str, str]:
    """Import statement of one name → the first file that has it."""
    found: dict[str, str] = {}
    for file in (file for top in (*TOP, "tests", "benchmarks", "docs") for file in sorted((ROOT / top).rglob("*.py"))):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                lines = [f"import {alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                lines = [f"from {node.module} import {alias.name}" for alias in node.names]
            else:
                continue
            for line in lines:
                if line.split()[1].partition(".")[0] == "deepblur":
                    found.setdefault(line, file.relative_to(ROOT).as_posix())
    return found


def unresolved(statements: list[str]) -> list[tuple[str, str]]:
    """The statements that Pyright cannot follow, each with its words."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "imports.py").write_text("\n".join(statements) + "\n", encoding="utf-8")
        (Path(folder) / "pyrightconfig.json").write_text(json.dumps(CONFIGURATION), encoding="utf-8")
        command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", folder]
        told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)
    assert told["summary"]["filesAnalyzed"] == 1, told["summary"]
    errors = [entry for entry in told["generalDiagnostics"] if entry["severity"] == "error"]
    return [(statements[entry["range"]["start"]["line"]], entry["message"]) for entry in errors]


def main() -> None:
    seen = imports()
    wrong = "from deepblur.operators import no_such_name"
    *lost, (proof, _) = unresolved([*seen, wrong]) or [("", "")]
    for statement, message in lost:
        print(f"{seen[statement]}: {statement}: {message}", file=sys.stderr)
    assert proof == wrong, "Pyright did not see the import that is wrong on purpose"
    if lost:
        sys.exit("editors cannot follow these imports; deepblur/ links to every folder that they name")
    print(f"editors can follow all {len(seen)} imports")


if __name__ == "__main__":
    main()
