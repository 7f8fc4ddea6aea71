"""What a user installs: the archive and the wheel hold the whole package, and its extras are those that the code and the docs name."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from synesthete import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = {"dev", "training"}  # extras for those who work on the project
EXTRAS = set(PROJECT["optional-dependencies"]) - OURS
INSTALL = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive, and the wheel that is built from what it holds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        import check_wheel
    return check_wheel.build(tmp_path_factory.mktemp("dist"))


def package_files() -> set[str]:
    """Every file of the package here, as paths in a wheel."""
    source = ROOT / "src"
    return {
        path.relative_to(source).as_posix()
        for path in (source / "synesthete").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_the_wheel_holds_every_file_of_the_package(built: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(built[1]).namelist())
    metadata = f"synesthete-{__version__}.dist-info"
    assert {name for name in names if not name.startswith(metadata)} == package_files()
    assert {f"{metadata}/licenses/{name}" for name in ("LICENSE", "NOTICE")} <= names
    kinds = {Path(name).suffix for name in names}
    assert {".safetensors", ".html", ".css", ".js", ".webp", ".json", ".ttf", ".typed"} <= kinds


def test_the_wheel_says_what_it_is(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        (name,) = (one for one in wheel.namelist() if one.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(wheel.read(name))
    assert metadata["Version"] == __version__
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS | OURS
    assert metadata["Author"] in (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert str(metadata.get_payload()).startswith("# Synesthete")


def test_the_archive_holds_what_its_makefile_runs(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    used = set(re.findall(r"(?:tools|docs)/\w+\.\w+", (ROOT / "Makefile").read_text()))
    assert len(used) >= 4
    assert used <= names
    assert {f"src/{name}" for name in package_files()} <= names


def test_every_hint_names_an_extra() -> None:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    hinted = set(re.findall(r"pip install 'synesthete\[(\w+)\]'", "\n".join(sources)))
    assert hinted == EXTRAS


def test_every_extra_has_a_row() -> None:
    rows = dict(re.findall(r"^\| `\[(\w+)\]` \| (.+)$", INSTALL, re.MULTILINE))
    assert rows.keys() == EXTRAS
    for extra, row in rows.items():
        for needed in PROJECT["optional-dependencies"][extra]:
            assert re.split(r"[\[<>=]", needed)[0] in row, (extra, needed)


def test_only_those_versions_of_python_are_claimed_that_were_run() -> None:
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert claimed == re.findall(r"^\| (3\.\d+) \| (?!not run)", INSTALL, re.MULTILINE)


@pytest.mark.parametrize(
    ("missing", "code", "extra"),
    [
        ("lancedb", "from synesthete.catalog import Catalog; Catalog.create('x', 'mini')", "catalog"),
        ("ir_measures", "from synesthete.catalog.metrics.ranking import measured as m; m([], [], [1])", "catalog"),
        ("transformers", "from synesthete.models.building import needs_transformers as n; raise n('x')", "transformers"),
    ],
)  # fmt: skip
def test_what_a_missing_extra_says(missing: str, code: str, extra: str, tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None
from synesthete.errors import SynestheteError
try:
    {code}
except SynestheteError as error:
    sys.exit(str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert f"pip install 'synesthete[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
