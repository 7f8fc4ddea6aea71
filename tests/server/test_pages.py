"""Every page and its JSON representation; links lead somewhere; wrong addresses say what there is; texts are never markup."""

from __future__ import annotations

import json
import re
import struct
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from synesthete.atlas import open_atlas, write_neurons, write_unit_tables
from synesthete.atlas.thumbnails import THUMBNAIL_SIZE
from synesthete.report.columns import Coded, Columns, Part, either, ranked, read_columns
from synesthete.report.images import Thumbnails
from synesthete.server.pages import PAGES
from synesthete.server.pages.model_card import _order
from tests.server.conftest import BEARER, client_of
from tests.small_atlas import CONCEPTS, LAYER, record_small

PATHS = (
    "/",
    "/neurons",
    f"/layer/{LAYER}",
    f"/neuron/{LAYER}:0",
    f"/neuron/{LAYER}:2",
    "/concepts",
    "/concept/apple",
    "/families",
    "/family/food",
    "/map",
    "/compare",
    f"/compare?a={LAYER}:0&b={LAYER}:1",
    "/search",
    "/search?q=apple",
    "/bench",
    "/try-image",
    "/try-image/result?word=boat",
    "/try-text?text=apple",
    "/reviews",
    f"/label/{LAYER}:0",
    "/audits",
    "/audits/made",
    "/edit",
    "/models",
    "/licences",
)


def links(html: str) -> set[str]:
    found = re.findall(r'\b(?:href|src)="([^"]+)"', html)
    return {unescape(one).partition("#")[0] for one in found} - {""}


def json_path(path: str) -> str:
    base, question, query = path.partition("?")
    return ("/index" if base == "/" else base) + ".json" + question + query


def test_every_kind_of_page_is_looked_at() -> None:
    shown = {path.partition("?")[0] for path in PATHS}
    for page in PAGES:
        if page.name == "image":
            continue  # its address is another in every atlas: `test_an_image_has_a_page`
        pattern = re.sub(r"\{\w+(:path)?\}", ".+", page.path)
        assert any(re.fullmatch(pattern, path) for path in shown), page.path


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_html_and_json(shared: TestClient, path: str) -> None:
    html = shared.get(path, headers={"accept": "text/html"})
    assert html.status_code == 200, html.text[:500]
    assert html.headers["content-type"].startswith("text/html")
    assert "<h1>" in html.text or 'class="neuron' in html.text
    found = shared.get(json_path(path))
    assert found.status_code == 200
    json.loads(found.text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert json_path(path).split("?")[0] in html.text or path == "/"


def test_the_card_is_headed_by_the_concept_of_its_images_and_numbers(
    shared: TestClient,
) -> None:
    best = shared.get("/index.json").json()["best"]
    headings = re.findall(r'class="guise-name">([^<]+?) <small>', shared.get("/").text)
    assert best
    assert [unescape(one) for one in headings] == [one["neuron"]["heading"] for one in best]


def test_neurons_named_after_something_else_come_last_on_the_card() -> None:
    def coded(*texts: str) -> Coded:
        return Coded(np.arange(1, len(texts) + 1, dtype=np.int32), ("", *texts))

    columns = SimpleNamespace(
        name=Coded(np.array([1, 0, 2, 3], np.int32), ("", "toolbox", "pear", "moai")),
        concept=coded("tomato", "apple", "pear", "moai"),
        passes=np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]], bool),
        multimodality=np.array([0.99, 0.91, 0.92, 0.98]),
    )
    columns.heading = either(columns.name, columns.concept, columns.name.codes > 0)
    units = np.arange(4)
    part = Part("layer", units, _order(cast("Columns", columns), units))
    assert [unit for _, unit in ranked([part])] == [1, 3, 2, 0]


def test_all_links_of_all_pages_lead_somewhere(shared: TestClient) -> None:
    todo, done = ["/"], set()
    while todo:
        path = todo.pop()
        if path in done:
            continue
        done.add(path)
        answer = shared.get(path, headers={"accept": "text/html"})
        assert answer.status_code == 200, path
        saved = "content-disposition" in answer.headers
        if answer.headers["content-type"].startswith("text/html") and not saved:
            todo += [one for one in links(answer.text) if worth_following(one)]
            assert all(one.startswith("/") for one in links(answer.text)), (
                "a link leaves the machine"
            )
    for start, least in (("/neuron/", 10), ("/concept/", 4), ("/image/", 64), ("/family/", 4)):
        assert sum(path.startswith(start) for path in done) >= least, start


def worth_following(path: str) -> bool:
    """Of the neurons a few stand for all: every page of a neuron is rendered by the same lines."""
    found = re.search(rf"{LAYER}:(\d+)", unquote(path))
    return path.startswith("/") and (found is None or int(found[1]) % 40 < 2)


def test_the_headline_has_its_controls(shared: TestClient) -> None:
    facts = shared.get("/index.json").json()
    counts = facts["counts"]
    assert (
        counts["model"]["count"],
        counts["random_twin"]["count"],
        counts["shuffled"]["count"],
    ) == (2, 1, 0)
    html = shared.get("/", headers={"accept": "text/html"}).text
    assert "random twin" in html
    assert "shuffled" in html


@pytest.mark.parametrize("name", ["0", "apple", "RED%20APPLE"])
@pytest.mark.parametrize("end", ["", ".json"])
def test_a_neurons_number_concept_or_name_leads_to_its_page(
    shared: TestClient, name: str, end: str
) -> None:
    moved = shared.get(f"/neuron/{name}{end}", follow_redirects=False)
    assert moved.status_code == 307
    assert unquote(moved.headers["location"]) == f"/neuron/{LAYER}:0{end}"


def test_a_concept_of_several_neurons_lists_them(shared: TestClient) -> None:
    answer = shared.get("/neuron/boat.json")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert "'boat' names 63 neurons" in error["message"]
    assert len(error["near"]) == 8
    assert all(one["name"].startswith(f"{LAYER}:") for one in error["near"])
    assert "did you mean 'drum'" in shared.get("/neuron/drumm.json").json()["error"]["hint"]


def test_sentences_of_the_lead_have_a_space_between_them(shared: TestClient) -> None:
    page = shared.get(f"/neuron/{LAYER}:0").text
    lead = re.search(r'<p class="lead">(.*?)</p>', page, re.DOTALL)
    assert lead
    assert not re.search(r"[a-z)]\.[A-Za-z]", re.sub(r"<[^>]*>", "", lead[1])), lead[1]


def test_a_neuron_page_says_what_was_measured(shared: TestClient, original: Path) -> None:
    facts = shared.get(f"/neuron/{LAYER}:0.json").json()
    neuron = open_atlas(original).neuron(f"{LAYER}:0")
    assert facts["neuron"]["name"] == "red apple"
    assert facts["names"] == ["red apple", "fruit"]
    assert facts["neuron"]["multimodality"] == pytest.approx(neuron.multimodality)
    values = np.asarray(open_atlas(original).activations(LAYER)[:, 0], float)
    for part in facts["modalities"]:
        shown = [one["value"] for one in part["exemplars"]]
        assert shown == sorted(shown, reverse=True)
        rows = [
            i
            for i, m in enumerate(open_atlas(original).probes["modality"].to_pylist())
            if m == part["modality"]
        ]
        assert shown[0] == pytest.approx(np.nanmax(values[rows]))
    best = facts["neighbours"]["neurons"][0]
    other = np.asarray(open_atlas(original).activations(LAYER)[:, best["neuron"]["unit"]], float)
    fine = np.isfinite(values) & np.isfinite(other)
    assert best["correlation"] == pytest.approx(
        np.corrcoef(values[fine], other[fine])[0, 1], abs=1e-4
    )
    distribution = facts["distribution"]
    assert sum(distribution["counts"]) == distribution["images"] == int(np.isfinite(values).sum())


def test_filters_and_orders_of_the_grid(shared: TestClient) -> None:
    page = f"/layer/{LAYER}.json"
    whole = shared.get(page).json()
    assert whole["paging"]["total"] == whole["units"]
    only = shared.get(page, params={"multimodal": "1"}).json()
    assert [row["unit"] for row in only["neurons"]] == [0, 1]
    food = shared.get(page, params={"family": "food"}).json()
    assert {row["family"] for row in food["neurons"]} == {"food"}
    assert {
        row["concept"] for row in shared.get(page, params={"concept": "APPLE"}).json()["neurons"]
    } == {"apple"}
    sure = shared.get(page, params={"confidence": "0.96"}).json()
    assert [row["unit"] for row in sure["neurons"]] == [0]
    names = [row["name"] for row in shared.get(page, params={"sort": "name"}).json()["neurons"]]
    assert names[:2] == ["<i>cat</i>", "red apple"]
    units = [row["unit"] for row in shared.get(page, params={"sort": "unit"}).json()["neurons"]]
    assert units == sorted(units)
    choices = sum(choice["count"] for choice in whole["profiles"])
    assert choices == whole["units"]
    empty = shared.get(
        f"/layer/{LAYER}",
        params={"family": "none", "multimodal": "1"},
        headers={"accept": "text/html"},
    )
    assert "No neuron passes these filters" in empty.text


@pytest.mark.parametrize(
    ("q", "first"),
    [("red apple", 0), ("RED", 0), ("apple", 0), ("cat", 1), (f"{LAYER}:3", 3), ("food", 0)],
)
def test_search_finds_names_concepts_families_and_addresses(
    shared: TestClient, q: str, first: int
) -> None:
    found = shared.get("/search.json", params={"q": q}).json()
    assert found["neurons"][0]["unit"] == first


def test_search_without_a_find_proposes(shared: TestClient) -> None:
    found = shared.get("/search.json", params={"q": "appel"}).json()
    assert found["total"] == 0
    assert found["near"][0]["name"] == "apple"


@pytest.mark.parametrize(
    ("path", "status", "near"),
    [
        ("/neuron/visual.layer9:0", 404, "visual.layer4"),
        (f"/neuron/{LAYER}:99999", 404, LAYER),
        ("/neuron/x", 404, LAYER),
        (f"/neuron/{LAYER}:007", 404, LAYER),
        ("/concept/appel", 404, "apple"),
        ("/family/fod", 404, "food"),
        ("/layer/visual.layer9", 404, LAYER),
        ("/nothing", 404, ""),
        ("/image/0123456789abcdef.webp", 404, ""),
        ("/image/..%2f..%2fatlas.json.webp", 404, ""),
        ("/static/../guard.py", 404, ""),
        ("/a/other/", 404, "small"),
        (f"/layer/{LAYER}?sort=colour", 422, "sort"),
        (f"/layer/{LAYER}?page=0", 422, "page"),
        (f"/layer/{LAYER}?confidence=nan", 422, "confidence"),
        ("/search?q=" + "a" * 201, 422, "q"),
    ],
)
def test_wrong_addresses_say_what_there_is(
    shared: TestClient, path: str, status: int, near: str
) -> None:
    page = shared.get(path, headers={"accept": "text/html"})
    assert page.status_code == status
    assert "<h1>" in page.text
    found = shared.get(path, headers={"accept": "application/json"})
    assert found.status_code == status
    assert near in json.dumps(found.json()["error"])


def test_texts_of_images_are_never_markup(shared: TestClient) -> None:
    for path in (
        "/",
        "/concepts",
        "/concept/%3Cb%3E%26cat%3C%2Fb%3E",
        f"/neuron/{LAYER}:1",
        "/map",
        "/licences",
        "/reviews",
    ):
        html = shared.get(path, headers={"accept": "text/html"}).text
        for nasty in ("<script>alert", "<b>&cat", "<i>cat", 'onerror="'):
            assert nasty not in html, path


def test_the_maps_file_holds_what_its_json_does(shared: TestClient) -> None:
    found, answer = shared.get("/map.json").json(), shared.get("/map.bin")
    assert answer.headers["content-type"] == "application/octet-stream"
    (length,) = struct.unpack_from("<I", answer.content)
    header = json.loads(answer.content[4 : 4 + length])
    points, at, count = found["points"], 4 + length, header["count"]
    assert count == len(points["unit"]) > 100
    assert header["regions"] == found["regions"]
    for kind, names in (
        ("<u4", ("unit", "heading")),
        ("<u2", ("x", "y", "family", "kind")),
        ("u1", ("verdict", "modality")),
    ):
        for name in names:
            assert np.frombuffer(answer.content, kind, count, at).tolist() == points[name]
            at += count * np.dtype(kind).itemsize
    assert at == len(answer.content)
    for key in ("texts", "families", "kinds", "verdicts", "modalities"):
        assert header[key] == points[key]
    assert (min(points["x"]), max(points["x"])) == (0, 65_535)
    units = shared.get(f"/layer/{LAYER}.json").json()["units"]
    assert found["silent"] == units - count > 0
    assert f"{found['silent']} silent" in shared.get("/map").text
    again = shared.get("/map.bin", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


def test_a_card_is_one_file_that_is_saved(shared: TestClient) -> None:
    answer = shared.get(f"/neuron/{LAYER}:0.card.html")
    assert answer.headers["content-disposition"] == "attachment"
    assert "red apple" in answer.text
    assert not re.search(r'\b(?:href|src)="(?!data:|#)', answer.text), "it loads something"
    assert shared.get(f"/neuron/{LAYER}:99999.card.html").status_code == 404


def test_a_modality_that_was_not_tested_does_not_look_failed(atlas_path: Path) -> None:
    columns = read_columns(open_atlas(atlas_path), LAYER)
    table = open_atlas(atlas_path).neuron_table(LAYER)
    place = table.column_names.index("auc_photo")
    values = [None if unit == 0 else value for unit, value in enumerate(columns.auc[0].tolist())]
    write_neurons(
        atlas_path, LAYER, table.set_column(place, "auc_photo", pa.array(values, pa.float64()))
    )
    with client_of(atlas_path, BEARER) as client:
        grid = client.get(f"/layer/{LAYER}", headers={"accept": "text/html"}).text
        page = client.get(f"/neuron/{LAYER}:0", headers={"accept": "text/html"}).text
    tile = grid[grid.index(f'href="/neuron/{LAYER}:0"') :].partition("</a>")[0]
    assert "not tested: photo" in tile
    assert '<i class="photo untested">' in tile
    head = page[page.index('<h2 class="photo">') :].partition("</div>")[0]
    assert "not tested" in head
    assert "<svg" not in head, "an empty bar would look like a low score"


def test_a_family_says_what_kinds_of_things_it_holds(atlas_path: Path) -> None:
    units = open_atlas(atlas_path).layer(LAYER)["units"]
    rows = {
        "unit": pa.array(range(units), pa.int32()),
        "rank": pa.array([0] * units, pa.int16()),
        "family": ["image feature"] * units,
        "confidence": [0.95] * units,
        "evidence": ["name: x"] * units,
    }
    write_unit_tables(atlas_path, "families", {LAYER: pa.table(rows)}, {"layers": {LAYER: {}}})
    with client_of(atlas_path, BEARER) as client:
        (family,) = client.get("/families.json").json()["families"]
        kinds = {one["kind"]: one["neurons"] for one in family["kinds"]}
        page = client.get("/family/image%20feature.json", params={"kind": "vehicle"}).json()
        html = client.get(family["kinds"][0]["path"], headers={"accept": "text/html"})
        wrong = client.get("/family/image%20feature.json", params={"kind": "vehicl"})
    # Every unit by its concept, but the two whose names are none of the probe set's concepts, and the one without either.
    assert sum(kinds.values()) == units - 3
    assert set(kinds) == set(CONCEPTS.values())
    assert page["paging"]["total"] == kinds["vehicle"]
    assert {one["concept"] for one in page["neurons"]} == {"boat"}
    assert html.status_code == 200
    assert wrong.status_code == 404
    assert "vehicle" in wrong.json()["error"]["hint"]


def test_images(shared: TestClient, original: Path) -> None:
    shown = shared.get("/concept/apple.json").json()["modalities"][0]["exemplars"][0]
    answer = shared.get(shown["path"])
    assert answer.headers["content-type"] == "image/webp"
    assert answer.content[8:12] == b"WEBP"
    again = shared.get(shown["path"], headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    assert not again.content
    mosaic = shared.get(f"/neuron/{LAYER}:0.webp")
    assert mosaic.content[8:12] == b"WEBP"
    assert shared.get(f"/neuron/{LAYER}:2.webp").status_code == 200, "a dead unit has an image too"
    assert not re.search(r"\d{1,3}\.webp", unquote(shown["path"]).replace(shown["id"], "")), (
        "ids tell nothing"
    )


@pytest.mark.parametrize(
    ("modalities", "tiles"), [(1, (1, 1)), (4, (2, 2)), (5, (3, 2)), (9, (3, 3)), (10, (4, 3))]
)
def test_a_mosaic_of_many_modalities_is_no_tower(
    original: Path, modalities: int, tiles: tuple[int, int]
) -> None:
    sheet = Thumbnails(open_atlas(original)).sheet([None] * modalities)
    assert sheet.size == (tiles[0] * THUMBNAIL_SIZE, tiles[1] * THUMBNAIL_SIZE)


def test_pages_are_not_sent_twice(shared: TestClient) -> None:
    first = shared.get("/concepts.json")
    again = shared.get("/concepts.json", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    head = shared.head("/concepts")
    assert head.status_code == 200
    assert not head.content


def test_every_modality_of_every_concept_is_counted(shared: TestClient) -> None:
    for concept in CONCEPTS:
        facts = shared.get(f"/concept/{concept.replace('/', '%2F')}.json").json()
        assert facts["concept"] == concept
        assert [one["count"] for one in facts["modalities"]] == [4, 4, 4, 4]


def test_an_atlas_that_is_not_analysed_says_so(tmp_path: Path) -> None:
    with client_of(record_small(tmp_path), BEARER) as client:
        page = client.get("/", headers={"accept": "text/html"})
        assert page.status_code == 200
        assert "synesthete analyze" in page.text
        assert client.get("/concept/apple.json").json()["neurons"] == []
        for path in ("/neurons", f"/neuron/{LAYER}:0", "/map", "/families"):
            answer = client.get(path, headers={"accept": "text/html"})
            assert answer.status_code == 409
            assert "analyze" in answer.text


def test_without_the_dense_matrix_pages_still_work(tmp_path: Path) -> None:
    from tests.small_atlas import write_known_analysis

    path = record_small(tmp_path, dense=False)
    write_known_analysis(path)
    with client_of(path, BEARER) as client:
        facts = client.get(f"/neuron/{LAYER}:0.json").json()
        assert facts["neighbours"] is None
        assert facts["meaning"] is None
        assert sum(facts["distribution"]["counts"]) == facts["distribution"]["images"]
        for one in (
            "/",
            f"/neuron/{LAYER}:0",
            f"/layer/{LAYER}",
            "/map",
            f"/compare?a={LAYER}:0&b={LAYER}:1",
        ):
            assert client.get(one, headers={"accept": "text/html"}).status_code == 200, one


def test_an_atlas_that_is_replaced_is_read_anew(
    client: TestClient, atlas_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synesthete.atlas import clear_analysis
    from synesthete.server import library

    monkeypatch.setattr(library, "LOOK_EVERY", 0.0)
    assert client.get("/index.json").json()["counts"] is not None
    clear_analysis(atlas_path)
    assert client.get("/index.json").json()["counts"] is None
    (atlas_path / "atlas.json").write_text("{")
    assert client.get("/index.json").status_code == 503


def test_several_atlases_have_addresses_of_their_own(original: Path, atlas_path: Path) -> None:
    from starlette.testclient import TestClient as Client

    from synesthete.server import Gate, create_app

    with Client(
        create_app([original, atlas_path], Gate("t")),
        base_url="http://127.0.0.1",
        headers={"Authorization": "Bearer t"},
    ) as client:
        page = client.get("/a/own/", headers={"accept": "text/html"}).text
        assert "/a/own/concepts" in page
        assert "/a/small/" in page
        assert '<a href="/a/own/models?other=small" aria-label="compare with small">' in page
        assert client.get("/a/own/models?other=small").status_code == 200
        assert client.get("/a/own/index.json").json()["atlas"] == "own"
        image = client.get("/a/own/concept/apple.json").json()["modalities"][0]["exemplars"][0][
            "path"
        ]
        assert image.startswith("/a/own/image/")
        assert client.get(image).status_code == 200


def test_an_image_has_a_page(shared: TestClient, original: Path) -> None:
    shown = shared.get("/concept/apple.json").json()["modalities"][0]["exemplars"][0]
    assert shown["page"] == f"/image/{shown['id']}"
    facts = shared.get(f"{shown['page']}.json").json()
    assert facts["image"]["concept"] == "apple"
    assert facts["can_explain"] is False, "a folder of images is not at hand"
    atlas = open_atlas(original)
    captions = atlas.probes["key"].to_pylist()
    stats = atlas.statistics(LAYER)
    values = np.asarray(atlas.activations(LAYER), np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (values - stats.mean) / stats.std
    z[:, 2] = np.nan
    best = {round(float(np.nanmax(np.where(np.isfinite(row), row, -9))), 3) for row in z}
    assert round(facts["excited"][0]["z"], 3) in best
    assert len(captions) == len(values)
    html = shared.get(shown["page"], headers={"accept": "text/html"}).text
    assert "<script>alert" not in html
    assert shared.get("/image/0123456789abcdef").status_code == 404
    sent = shared.post("/try-image.json", data={"image": shown["id"]})
    assert sent.status_code == 409
    assert "thumbnails" in sent.json()["error"]["message"]


def test_two_atlases_are_compared(original: Path, atlas_path: Path) -> None:
    from starlette.testclient import TestClient as Client

    from synesthete.server import Gate, create_app

    app = create_app([original, atlas_path], Gate("t"))
    inside = {"Authorization": "Bearer t"}
    with Client(app, base_url="http://127.0.0.1", headers=inside) as client:
        facts = client.get("/models.json", params={"other": "own"}).json()
        assert facts["shared"] == 64
        assert {one["first"]["unit"] for one in facts["pairs"]} <= {0, 1}
        for pair in facts["pairs"]:
            assert pair["correlation"] == pytest.approx(1.0, abs=1e-3), "the same model"
            assert pair["second"]["path"].startswith("/a/own/neuron/")
        assert [one["name"] for one in facts["both"]] == ["<b>&cat</b>", "apple"]
        assert facts["only_first"] == facts["only_second"] == []
        assert facts["overlap"]["neither"] == ["boat", "drum"]
        [tested] = facts["tested"]
        assert tested["way"] == "activation"
        assert tested["mutual"] == tested["counts"][0]["matched"] == tested["counts"][0]["live"] > 0
        assert all(one["first"]["unit"] == one["second"]["unit"] for one in tested["pairs"])
        assert "profiles need 10" in facts["missing"][0]
        pair = client.get(
            "/compare.json", params={"a": f"{LAYER}:0", "b": f"{LAYER}:0", "other": "own"}
        )
        assert pair.json()["shared"] == len(pair.json()["sides"][0]["exemplars"]) > 0
        assert client.get("/models.json", params={"other": "nothing"}).status_code == 404
        for path in ("/models?other=own", f"/compare?a={LAYER}:0&b={LAYER}:0&other=own"):
            html = client.get(path, headers={"accept": "text/html"})
            assert html.status_code == 200
        html = client.get("/models?other=own", headers={"accept": "text/html"}).text
        assert "on held-out artists" in html
        assert "Neither has 2." in html


def test_the_model_card_says_for_how_many_concepts(shared: TestClient) -> None:
    counts = shared.get("/index.json").json()["counts"]
    found = [counts[key]["concepts"] for key in ("model", "random_twin", "shuffled")]
    assert found == [2, 1, 0]
    html = shared.get("/", headers={"accept": "text/html"}).text
    assert "<small>of 256, for 2 concepts</small>" in html
    assert "<small>for 1 concept</small>" in html
