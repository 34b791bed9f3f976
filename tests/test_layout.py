"""The project's shape: what imports what, and what an import costs."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_root_never_shadows_the_standard_platform_module():
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_importing_deepblur_costs_no_torch():
    code = "import sys, deepblur; assert not {'torch', 'ray', 'mlflow'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
