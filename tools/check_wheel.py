"""Builds the source archive and, from it, the wheel; installs the wheel in a new environment and uses it there.

Run it by `make wheel`, or:  .venv/bin/python tools/check_wheel.py [--out dist]
The environment is new but for what the package depends on, which it takes from the one that runs this: nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What is used: the version of the metadata, the shipped model, probe set and published values, and a page with its style sheet.
USES = """
import importlib.metadata, sys, tempfile
from pathlib import Path
import synesthete as syn
from starlette.testclient import TestClient
from synesthete import published
from synesthete.server import Gate, create_app

assert Path(syn.__file__).is_relative_to(sys.prefix), f"{syn.__file__} is not the installed package"
assert importlib.metadata.version("synesthete") == syn.__version__
probes = syn.load_probes("concepts", texts=False)
model = syn.load_model("mini")
with tempfile.TemporaryDirectory() as folder:
    atlas = syn.record(model, probes.select(indices=range(16)), ["visual.layer4.1"], Path(folder) / "small.atlas")
    client = TestClient(create_app([atlas], Gate("secret")), headers={"Authorization": "Bearer secret"}, base_url="http://127.0.0.1")
    for address in ("/", "/static/style.css", "/static/main.js"):
        assert client.get(address).status_code == 200, address
print(f"mini reads {len(probes)} images, the published values of {len(published.table('units')['names'])} units, the home page has its styles")
"""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command prints, in an environment that knows nothing of this checkout."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}")
    return done.stdout.strip()


def build(out: Path) -> tuple[Path, Path]:
    """The source archive, and the wheel built from it, without network or isolation."""
    out.mkdir(parents=True, exist_ok=True)
    hatchling = (sys.executable, "-m", "hatchling", "build")
    run(*hatchling, "-t", "sdist", "-d", out)
    archive = max(out.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(archive) as file:
            file.extractall(folder)
        (source,) = Path(folder).iterdir()
        run(*hatchling, "-t", "wheel", "-d", out, cwd=source)
    return archive, max(out.glob("*.whl"), key=lambda path: path.stat().st_mtime)


def install(wheel: Path, folder: Path) -> Path:
    """The programs of a new environment that holds the wheel, and what it needs from this one."""
    venv.create(folder, with_pip=False, symlinks=True)
    programs = folder / "bin"
    site = run(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    # A folder on the path, whose own .pth files are not read: this checkout's editable install stays out.
    (Path(site) / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip = (sys.executable, "-m", "pip", "--python", programs / "python")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", wheel)
    return programs


def main() -> None:
    """Build, install and use; each step ends with what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where both files go")
    archive, wheel = build(parser.parse_args().out.absolute())
    for path in (archive, wheel):
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as folder:
        programs = install(wheel, Path(folder) / "env")
        print(run(programs / "synesthete", "--version", cwd=Path(folder)))
        print(run(programs / "python", "-c", USES, cwd=Path(folder)))


if __name__ == "__main__":
    main()
