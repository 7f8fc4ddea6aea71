"""`tools/get_chromium.sh` on machines without a browser: what it tries, and what it tells a person to do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.browser import chromium

SCRIPT = Path(__file__).parents[2] / "tools" / "get_chromium.sh"


def run(folder: Path, python: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The script on a machine whose only programs are bash's, `id`, `cat` and those in the folder."""
    for name in ("bash", "id", "cat", "touch", "test"):
        (folder / name).symlink_to(str(shutil.which(name)))
    program(folder / "sudo", 'shift; exec "$@"')
    program(folder / "python", python)
    command = [str(folder / "bash"), str(SCRIPT), str(folder / "python")]
    environment = {"PATH": str(folder), "HERE": str(folder), **more}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def program(path: Path, code: str) -> None:
    path.write_text(f"#!{shutil.which('bash')}\n{code}\n", encoding="utf-8")
    path.chmod(0o755)


# Stands for Python: `-c` asks whether a browser starts, `-m playwright WHAT` fetches something.
STAND_IN = (
    'echo "$*" | cat >> "$HERE/asked"; if [ "$1" = -c ]; then test -e "$HERE/chrome"; exit; fi; '
)


def test_nothing_is_fetched_where_one_starts(tmp_path: Path) -> None:
    (tmp_path / "chrome").touch()
    done = run(tmp_path, STAND_IN)
    assert done.returncode == 0
    assert "playwright" not in (tmp_path / "asked").read_text()
    assert not done.stderr


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    done = run(tmp_path, STAND_IN + "exit 1")
    assert done.returncode == 1
    for way in ("apt install chromium", "SYNESTHETE_CHROMIUM=", "--ignore tests/browser"):
        assert way in done.stderr


def test_a_download_that_lacks_libraries_gets_them(tmp_path: Path) -> None:
    done = run(tmp_path, STAND_IN + '[ "$3" = install ] || touch "$HERE/chrome"')
    assert done.returncode == 0
    assert "install-deps" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("helps", [True, False])
def test_the_system_s_package_is_the_last_resort(tmp_path: Path, helps: bool) -> None:
    program(
        tmp_path / "apt-get",
        'echo "apt $*" | cat >> "$HERE/asked"'
        + ('; touch "$HERE/chrome"' if helps else "; exit 100"),
    )
    done = run(tmp_path, STAND_IN + "exit 1")
    assert done.returncode == (0 if helps else 1)
    assert "apt update" in (tmp_path / "asked").read_text()
    assert ("no Chromium could be installed" in done.stderr) == (not helps)


def test_a_wrong_name_is_refused_at_once(tmp_path: Path) -> None:
    done = run(tmp_path, STAND_IN, SYNESTHETE_CHROMIUM="/nowhere/chrome")
    assert done.returncode == 1
    assert "/nowhere/chrome, which is no Chromium that starts" in done.stderr
    assert "playwright" not in (tmp_path / "asked").read_text()


def test_what_starts(tmp_path: Path) -> None:
    assert not chromium.starts(None)
    assert not chromium.starts(str(tmp_path / "none"))
    program(tmp_path / "broken", "exit 127")
    assert not chromium.starts(str(tmp_path / "broken"))
    program(tmp_path / "good", "echo Chromium 1")
    assert chromium.starts(str(tmp_path / "good"))
