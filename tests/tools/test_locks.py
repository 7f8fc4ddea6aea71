"""The lock files: what `make install` and `make mini` may download, by version and hash."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = {"requirements.lock": "dev", "requirements-training.lock": "training"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def locked(name: str) -> dict[str, tuple[Requirement, list[str]]]:
    """Requirement and hashes of every entry of a lock file, by name."""
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = re.sub(r"^#.*$", "", text, flags=re.M).replace("\\\n", " ").split("\n")
    entries = {}
    for line in filter(None, map(str.strip, lines)):
        requirement, *hashes = re.split(r"\s+--hash=", line)
        parsed = Requirement(requirement)
        assert canonicalize_name(parsed.name) not in entries, f"{parsed.name} is locked twice"
        entries[canonicalize_name(parsed.name)] = parsed, hashes
    return entries


def wanted(extra: str) -> list[Requirement]:
    project = PROJECT["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"][extra]]
    # Only the dev install builds the project itself, from what is locked.
    build = PROJECT["build-system"]["requires"] if extra == "dev" else []
    return [Requirement(text) for text in [*listed, *build]]


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_one_version_with_hashes(name: str) -> None:
    entries = locked(name)
    assert len(entries) > 50
    for requirement, hashes in entries.values():
        (version,) = requirement.specifier
        assert version.operator == "=="
        assert "*" not in version.version, requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), requirement


@pytest.mark.parametrize(("name", "extra"), LOCKS.items())
def test_a_lock_covers_what_the_project_asks_for(name: str, extra: str) -> None:
    entries = locked(name)
    for requirement in wanted(extra):
        found, _ = entries[canonicalize_name(requirement.name)]
        (version,) = found.specifier
        assert requirement.specifier.contains(version.version), (requirement, found)


def test_the_locks_agree_with_each_other() -> None:
    one, other = (locked(name) for name in LOCKS)
    for name in one.keys() & other.keys():
        assert str(one[name][0].specifier) == str(other[name][0].specifier)
        assert one[name][1] == other[name][1]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_index(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=)", text, flags=re.M)


@pytest.mark.parametrize("target", ["install", "mini"])
def test_make_installs_nothing_unchecked(target: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", target, f"VENV={tmp_path / 'venv'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    commands = done.stdout.replace("\\\n", " ").splitlines()
    installs = [line for line in commands if re.search(r"\bpip install\b", line)]
    assert len(installs) >= 2
    for line in installs:
        from_lock = "--require-hashes" in line and "--only-binary :all:" in line
        project_alone = line.rstrip().endswith("--no-deps --no-build-isolation --editable .")
        assert from_lock or project_alone, line
