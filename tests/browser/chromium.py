"""Which browser the tests drive: one that is named, Playwright's own, or the system's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
)


def find() -> str | None:
    """Path of a Chromium or Chrome; None where there is none."""
    named = os.environ.get("SYNESTHETE_CHROMIUM")
    if named:
        return named if Path(named).is_file() else None
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).is_file() else None


def starts(path: str | None) -> bool:
    """Whether there is one, and it runs here: a download may lack libraries of the system, a package be a mere pointer."""
    if path is None:
        return False
    try:
        version = subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return version.returncode == 0
