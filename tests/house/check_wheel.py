"""Build the wheel and fail unless it holds exactly the three packages, typed, with their SQL."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "memfold": ROOT / "engine",
    "memfold_projections": ROOT / "projections",
    "memfold_consumers": ROOT / "consumers",
}


def expected() -> set[str]:
    """Return the wheel path of every file of the three packages, and of their markers."""
    files = {f"{package}/py.typed" for package in PACKAGES}
    for package, root in PACKAGES.items():
        files |= {
            path.relative_to(root).as_posix()
            for path in (root / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
    return files


def built() -> set[str]:
    """Build the wheel into a temporary folder and return what it holds besides its metadata."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
    return {name for name in names if not name.split("/")[0].endswith(".dist-info")}


def main() -> int:
    """Print each difference and return the exit code."""
    wanted, got = expected(), built()
    problems = [f"missing from the wheel: {name}" for name in sorted(wanted - got)]
    problems += [f"must not be in the wheel: {name}" for name in sorted(got - wanted)]
    problems += [
        f"not a file a package ships: {name}"
        for name in sorted(got)
        if Path(name).suffix not in {".py", ".sql", ".typed"}
    ]
    print("\n".join(problems) or f"wheel: {len(got)} files, exactly the three packages")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
