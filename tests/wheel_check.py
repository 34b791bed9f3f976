"""Build the sdist, of it the wheel, and use that in a fresh environment; run by `make wheel`, not by pytest.

The dependencies come from the environment that runs this (a line in a .pth file, which shows packages but no editable
install), so that the check takes seconds.
"""

import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

from deepblur.platform.system import source_tree

ROOT = Path(__file__).resolve().parent.parent
USE = """
import deepblur, platform
assert platform.python_version()
assert "site-packages" in deepblur.__file__, deepblur.__file__
import deepblur.operators as operators, deepblur.nets as nets, deepblur.baselines as baselines
for room in (operators, nets, baselines):
    for name in room.__all__:
        getattr(room, name)
from deepblur.operators import EigenPSFBlur, PoissonGaussian, ProductConvolutionBlur, ZernikeBlur
from deepblur.nets import Deblurrer, DRUNet, Identifier
import deepblur.platform.study, deepblur.platform.experiment.run, deepblur.platform.cluster.queue
import deepblur.platform.registry.publish, deepblur.restoration.restore
from deepblur.platform.commands.studies import installed as studies
assert "ablation_true_vs_est" in studies(), studies()
from deepblur.platform.models import shipped
shipped.shipped(shipped.DEFAULT)
from importlib.metadata import entry_points
from importlib.resources import files
(plugin,) = [entry for entry in entry_points(group="napari.manifest") if entry.name == "deepblur"]
package, _, manifest = plugin.value.partition(":")
assert (files(package) / manifest).is_file(), plugin
from deepblur.studies.compare_methods import TUNED
assert TUNED.is_file(), TUNED
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "build", "--outdir", folder, str(ROOT)], check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        (wheel,) = Path(folder).glob("*.whl")
        names = zipfile.ZipFile(wheel).namelist()
        stray = [name for name in names if not name.startswith(("deepblur/", f"{wheel.name.split('-')[0]}-"))]
        assert not stray, f"the wheel would install outside deepblur/: {stray[:3]}"
        assert len(names) == len(set(names)), "files are in the wheel twice"
        ours = {f"deepblur/{name.removeprefix('deepblur/')}" for name in source_tree.files(ROOT)}
        assert not ours - set(names), f"not in the wheel: {sorted(ours - set(names))[:3]}"
        environment = Path(folder) / "env"
        venv.create(environment, with_pip=True)
        python = environment / "bin" / "python"
        pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)]
        subprocess.run(pip, check=True)
        site = next((environment / "lib").glob("python3*")) / "site-packages"
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([str(python), "-c", USE], check=True, cwd=folder)
        subprocess.run([str(environment / "bin" / "deepblur"), "--help"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([str(environment / "bin" / "deepblur"), "studies"], check=True)
        print(f"{wheel.name}: {len(names)} files, installs and imports")


if __name__ == "__main__":
    main()
