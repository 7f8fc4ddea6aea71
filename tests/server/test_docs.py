"""docs/microscope.md names every page, every parameter and every endpoint, and none that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from synesthete.server.pages import PAGES

TEXT = (Path(__file__).parents[2] / "docs" / "microscope.md").read_text(encoding="utf-8")


def documented() -> dict[str, str]:
    return dict(re.findall(r"^\| `(/[^`]*)` \| (.*) \|$", TEXT, re.MULTILINE))


def test_the_pages_are_documented_and_no_others() -> None:
    assert set(documented()) == {page.path.replace(":path", "") for page in PAGES}


def test_their_parameters_are_documented(shared: TestClient) -> None:
    paths = shared.get("/openapi.json").json()["paths"]
    for page in PAGES:
        twin = "/index.json" if page.path == "/" else f"{page.path.replace(':path', '')}.json"
        for parameter in paths[twin]["get"].get("parameters", []):
            if parameter["in"] == "query":
                row = documented()[page.path.replace(":path", "")]
                assert re.search(rf"`?\b{parameter['name']}\b`?", row), (
                    f"{twin}: {parameter['name']}"
                )


def test_the_other_endpoints_are_documented(shared: TestClient) -> None:
    paths = shared.get("/openapi.json").json()["paths"]
    representations = {
        "/index.json" if page.path == "/" else f"{page.path.replace(':path', '')}.json"
        for page in PAGES
    }
    others = {
        f"{method.upper()} {path.replace(':path', '')}"
        for path, methods in paths.items()
        for method in methods
        if not path.startswith("/a/")
        and not (path.replace(":path", "") in representations and method == "get")
    }
    assert others == set(re.findall(r"^\| `((?:GET|POST) [^`]+)`", TEXT, re.MULTILINE))


@pytest.mark.parametrize(
    "path", ["/edit.json", "/try-image.json", "/reviews.json", "/compute.json"]
)
def test_the_fields_of_forms_are_documented(shared: TestClient, path: str) -> None:
    spec = shared.get("/openapi.json").json()
    content = spec["paths"][path]["post"]["requestBody"]["content"]
    (form,) = content.values()
    fields = spec["components"]["schemas"][form["schema"]["$ref"].rpartition("/")[2]]["properties"]
    row = re.search(rf"^\| `POST {re.escape(path)}` \| (.*) \|$", TEXT, re.MULTILINE)
    assert row
    for name in fields:
        assert name == "csrf" or f"`{name}`" in row[1], name
