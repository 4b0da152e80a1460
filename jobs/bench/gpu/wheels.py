"""Packages that a bare GPU machine lacks, from the wheels in a folder of the checkout."""

import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

WHEELS = Path(__file__).parents[3] / "gpu-wheels"  # filled by `make gpu-wheels`


def add_wheels(folder: Path = WHEELS) -> list[str]:
    """Make the packages in the wheels of `folder` importable that are not installed; return the names of the wheels.

    They are unpacked into a temporary folder, so that neither pip nor a network is needed.
    """
    lacking = [wheel for wheel in sorted(folder.glob("*.whl")) if find_spec(_package_of(wheel)) is None]
    if lacking:
        target = mkdtemp(prefix="gpu-wheels-")
        for wheel in lacking:
            zipfile.ZipFile(wheel).extractall(target)
        sys.path.append(target)
    return [wheel.name for wheel in lacking]


def _package_of(wheel: Path) -> str:
    """Return the name under which the package of a wheel is imported."""
    names = {name.split("/")[0].removesuffix(".py") for name in zipfile.ZipFile(wheel).namelist()}
    return min(name for name in names if not name.endswith((".dist-info", ".data")))
