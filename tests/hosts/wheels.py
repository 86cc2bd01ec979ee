"""The wheel of this checkout, and environments that have it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("asyncengine", "flows", "scripts")


def build(source: Path) -> Path:
    """Build it of a copy in this directory."""
    for name in PACKAGES:
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "target")
        )
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    run(
        *("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--disable-pip-version-check", "--wheel-dir", str(source / "dist"), str(source)),
    )
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel


def install(wheel: Path, environment: Path) -> None:
    """Make an environment with the wheel. The libraries are those of this one."""
    run("-m", "venv", "--without-pip", str(environment))
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    run(
        *("-m", "pip", "--python", str(environment), "install", "--quiet", "--no-deps"),
        *("--ignore-installed", "--disable-pip-version-check", str(wheel)),
    )


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
