"""Audit reports beside an atlas: listed, shown, and harmless when they are damaged or hostile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.audits.small_report import small_report


def test_reports_are_listed_with_their_verdicts(client: TestClient, atlas_path: Path) -> None:
    (row,) = client.get("/audits.json").json()["audits"]
    assert row["name"] == "made"
    assert row["verdicts"] == {"pass": 0, "undecided": 0, "fail": 2}
    assert not row["same_model"]
    html = client.get("/audits", headers={"accept": "text/html"}).text
    assert "2 fail" in html
    assert "other weights than this atlas" in html


def test_a_report_is_shown_without_anything_that_the_policy_forbids(client: TestClient) -> None:
    html = client.get("/audits/made", headers={"accept": "text/html"}).text
    assert "data:" not in html
    assert "style=" not in html
    assert "a written word becomes the answer" in html
    report = client.get("/audits/made.json").json()["report"]
    (example,) = report["typographic"]["examples"]
    image = client.get(example["image"])
    assert image.headers["content-type"] == "image/webp"
    assert image.content[:4] == b"RIFF"
    assert client.get("/audits/made/1.webp").status_code == 404


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("{", 409),
        ('{"schema": "synesthete.audit", "version": 2}', 409),
        (json.dumps(small_report() | {"adversarial": {}, "typographic": {"heads": 3}}), 409),
    ],
)
def test_a_damaged_report_is_an_error_and_the_list_goes_on(
    client: TestClient, atlas_path: Path, text: str, status: int
) -> None:
    (atlas_path.parent / "bad.audit").mkdir()
    (atlas_path.parent / "bad.audit" / "report.json").write_text(text, encoding="utf-8")
    assert client.get("/audits/bad.json").status_code == status
    assert [row["name"] for row in client.get("/audits.json").json()["audits"]] == ["bad", "made"]
    assert client.get("/audits/bad/0.webp").status_code == 409


def test_what_is_no_image_is_not_sent_as_one(client: TestClient, atlas_path: Path) -> None:
    report = small_report('<script>alert("x")</script>')
    report["typographic"]["examples"][0]["image"] = "data:text/html;base64,PHNjcmlwdD4="
    folder = atlas_path.parent / "sly.audit"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    assert client.get("/audits/sly/0.webp").status_code == 404
    assert "<script>alert" not in client.get("/audits/sly", headers={"accept": "text/html"}).text


@pytest.mark.parametrize("name", ["..%2Fmade", "nothing", "made.audit", "%2e%2e"])
def test_names_that_are_none(client: TestClient, name: str) -> None:
    assert client.get(f"/audits/{name}.json").status_code == 404
