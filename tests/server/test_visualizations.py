"""Feature visualizations: on the neuron's page, in the grid, as files, in the export; and when they are damaged."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from synesthete.atlas import Visualization
from synesthete.atlas.visualizations import add_visualizations, file_of, folder_of
from synesthete.server.export import broken_links, export_site
from tests.small_atlas import LAYER

HTML = {"accept": "text/html"}


def visualization(
    unit: int, facet: str, *, excites: bool = True, goal: str = "most"
) -> tuple[Visualization, bytes]:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), (unit, 9, len(facet))).save(stream, "WEBP")
    data, address = stream.getvalue(), f"{LAYER}:{unit}"
    return Visualization(
        target=address,
        layer=LAYER,
        unit=unit,
        facet=facet,
        goal=goal,
        copy=0,
        file=file_of(LAYER, unit, address, facet, goal, 0),
        sha256=hashlib.sha256(data).hexdigest(),
        activation=1.5,
        percentile=99.97 if excites else 43.21,
        excites=excites,
        strength=float(facet != "plain"),
        fidelity=None,
        steps=9,
        settings="0" * 16,
    ), data


@pytest.fixture
def visualized(atlas_path: Path) -> Path:
    rows = [
        visualization(0, "plain"),
        visualization(0, "word"),
        visualization(0, "face", excites=False),
        visualization(1, "plain", goal="least"),
    ]
    add_visualizations(atlas_path, folder_of(LAYER, 0), rows)
    return atlas_path


def test_the_neuron_page_shows_all_facets(visualized: Path, client: TestClient) -> None:
    facts = client.get(f"/neuron/{LAYER}:0.json").json()["visualizations"]
    assert [one["facet"] for one in facts] == ["plain", "face", "word"]
    assert [one["excites"] for one in facts] == [True, False, True]
    page = client.get(f"/neuron/{LAYER}:0", headers=HTML).text
    assert "What it sees" in page
    assert "99.97 %" in page
    assert page.count("does not excite it") == 1
    for one in facts:
        answer = client.get(one["path"])
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/webp"
        assert Image.open(io.BytesIO(answer.content)).size == (64, 64)
        again = client.get(one["path"], headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
    assert "What it sees" not in client.get(f"/neuron/{LAYER}:3", headers=HTML).text
    assert "inhibits" in client.get(f"/neuron/{LAYER}:1", headers=HTML).text


def test_the_grid_may_show_them(visualized: Path, client: TestClient) -> None:
    facts = client.get(f"/layer/{LAYER}.json?show=visualizations").json()
    assert facts["visualized"] == 1
    images = {row["unit"]: row["image"] for row in facts["neurons"]}
    assert images[0].startswith("/visualization/")
    assert images[1].startswith("/neuron/"), "what inhibits stands for no neuron"
    plain = client.get(f"/layer/{LAYER}.json").json()
    assert all(row["image"].startswith("/neuron/") for row in plain["neurons"])
    html = client.get(f"/layer/{LAYER}?show=visualizations", headers=HTML).text
    assert "feature visualizations (1)" in html
    following = re.findall(r'href="([^"]*page=2[^"]*)"', html)
    assert following
    assert all("show=visualizations" in one for one in following)
    assert client.get(f"/layer/{LAYER}?show=other").status_code == 422


def test_new_ones_appear_at_once(visualized: Path, client: TestClient) -> None:
    assert not client.get(f"/neuron/{LAYER}:5.json").json()["visualizations"]
    add_visualizations(visualized, folder_of(LAYER, 0), [visualization(5, "plain")])
    assert client.get(f"/neuron/{LAYER}:5.json").json()["visualizations"]


def test_a_missing_visualization_is_missing_and_an_altered_one_an_error(
    visualized: Path, client: TestClient
) -> None:
    path = client.get(f"/neuron/{LAYER}:0.json").json()["visualizations"][0]["path"]
    file = visualized / file_of(LAYER, 0, "", "plain", "most", 0)
    file.write_bytes(b"RIFF no image")
    answer = client.get(path)
    assert answer.status_code == 409
    assert "was altered" in answer.json()["error"]["message"]
    file.unlink()
    assert client.get(path).status_code == 404
    for wrong in (
        f"/visualization/{LAYER}:0/nothing.webp",
        f"/visualization/{LAYER}:9999/plain.webp",
    ):
        assert client.get(wrong).status_code == 404


def test_a_missing_table_is_no_visualizations_and_a_damaged_one_an_error(
    visualized: Path, client: TestClient
) -> None:
    table = visualized / folder_of(LAYER, 0) / "images.parquet"
    table.write_bytes(b"PAR1 no table")
    for path in (f"/neuron/{LAYER}:0", f"/layer/{LAYER}"):
        answer = client.get(f"{path}.json")
        assert answer.status_code == 409, path
        assert "images.parquet is damaged" in answer.json()["error"]["message"]
        assert client.get(path, headers=HTML).status_code == 409
    table.unlink()
    assert client.get(f"/neuron/{LAYER}:0.json").json()["visualizations"] == []
    assert client.get(f"/layer/{LAYER}.json").json()["visualized"] == 0


def test_the_static_site_has_them(visualized: Path, tmp_path: Path) -> None:
    export_site(visualized, tmp_path / "site")
    page = (tmp_path / "site" / "neuron" / f"{LAYER}-0.html").read_text(encoding="utf-8")
    assert "What it sees" in page
    assert len(list((tmp_path / "site" / "visualization").rglob("*.webp"))) == 4
    assert broken_links(tmp_path / "site") == []
