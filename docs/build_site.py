"""Builds the documentation as a site: the pages of docs/, and those elsewhere in the repository that they link to.

Run it by `make docs`, or:  .venv/bin/python docs/build_site.py [--out build/docs]
The generator is zensical, strictly: a link or an anchor that leads nowhere ends it. Settings and the order of pages: docs/zensical.toml.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<=\]\()([^)#\s]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
ELSEWHERE = "repository"  # the folder of the site for what lies outside of docs/


def stage(out: Path) -> list[Path]:
    """Copy what the site is built from into `out/docs`, each link to a file outside of docs/ led to its copy.

    Returns
    -------
    list
        The pages, as paths in `out/docs`.
    """
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(DOCS, out / "docs", ignore=shutil.ignore_patterns("*.py", "*.toml", "__pycache__"))  # fmt: skip
    shutil.copy(DOCS / "zensical.toml", out)
    waiting = [(page, DOCS / page.name) for page in sorted((out / "docs").glob("*.md"))]
    pages: list[Path] = []
    while waiting:
        page, source = waiting.pop()
        new: list[tuple[Path, Path]] = []
        text = source.read_text(encoding="utf-8")
        page.write_text(_relinked(text, page, source, out / "docs", new), encoding="utf-8")
        pages.append(page)
        waiting += new
    return sorted(pages)


def _relinked(text: str, page: Path, source: Path, site: Path, new: list[tuple[Path, Path]]) -> str:
    """A page's text with links that hold in the site; pages that are not there yet are added to `new`."""

    def lead(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        there = (source.parent / target).resolve()
        if there.is_relative_to(DOCS):
            copy = site / there.relative_to(DOCS)
        elif there.is_file():
            copy = site / ELSEWHERE / there.relative_to(ROOT)
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(there, copy)
                if copy.suffix == ".md":
                    new.append((copy, there))
        else:
            raise SystemExit(f"{source.relative_to(ROOT)} links to {target}, which is no file")
        return Path(os.path.relpath(copy, page.parent)).as_posix() + anchor

    return _outside_code(text, lambda prose: LINK.sub(lead, prose))


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """A page with everything changed but its fenced code."""
    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else change(part) for part in parts)


def build(out: Path) -> Path:
    """The folder of the site.

    Raises
    ------
    SystemExit
        A link that leads nowhere, or anything else that the generator warns of.
    """
    stage(out)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=out,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise SystemExit(done.stdout)
    return out / "site"


def main() -> None:
    """Build the site, and print where it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "docs", help="is replaced")
    site = build(parser.parse_args().out.absolute())
    print(f"{site / 'index.html'}: {len(list(site.rglob('*.html')))} pages")


if __name__ == "__main__":
    main()
