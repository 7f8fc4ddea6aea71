"""The article on a small model: every section measures, keeps what it measured, and says what it could not."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synesthete._core.intervals import Rate, wilson_interval
from synesthete.analysis.decomposition import word_factors
from synesthete.analysis.decomposition.fit import EMOTIONS, factored
from synesthete.atlas import open_atlas, write_analysis
from synesthete.errors import SynestheteError
from synesthete.published import MODELS, Emotions, emotions, published_name, regions, world
from synesthete.reproduction.meanings import _nonsense
from synesthete.reproduction.neurons import _over_artists
from synesthete.reproduction.regions import GRID, agreement, cells, draw_map
from synesthete.reproduction.run import SECTIONS, reproduce
from synesthete.reproduction.section import mean_row, pooled_row, share
from synesthete.reproduction.settings import Settings
from synesthete.reproduction.words import arithmetic
from tests.small_atlas import (
    LAYER,
    record_small,
    write_images,
    write_known_analysis,
    write_model,
)

SMALL = Settings(words=30, images=30, visualized=1, crops=8)
COLUMNS = {"section", "measure", "n", "value", "interval", "published", "control", "note"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = record_small(tmp_path_factory.mktemp("reproduction"))
    write_known_analysis(path)
    return path


def model_of(path: Path) -> str:
    return str(open_atlas(path).manifest["model"]["name"])


def run(path: Path, out: Path, *sections: str, settings: Settings = SMALL) -> dict[str, Any]:
    return reproduce(model_of(path), out, sections=sections, atlas=path, settings=settings)


@pytest.fixture(scope="module")
def report(small: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("report")
    every = [name for name in SECTIONS if name != "visualizations"]
    return out, run(small, out, *every)


def test_without_an_atlas_one_is_recorded_once(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    images = str(write_images(tmp_path / "images"))
    for again in (False, True):
        heard: list[str] = []
        found = reproduce(
            model, tmp_path / "report", sections=["controls"], probes=images, settings=SMALL, say=heard.append
        )  # fmt: skip
        assert found["images"] == 65
        assert found["sections"]["controls"]["rows"]
        assert any(line.startswith("analyses, step: ") for line in heard) != again
        assert ("records images: 65 of 65" in heard) != again
    (path,) = (tmp_path / "report").glob("model-*.atlas")
    assert open_atlas(path).analysed


def test_every_section_measures_or_says_why_not(report: tuple[Path, dict[str, Any]]) -> None:
    _, found = report
    assert list(found["sections"]) == [name for name in SECTIONS if name != "visualizations"]
    for name, one in found["sections"].items():
        assert one["rows"], name
        for row in one["rows"]:
            assert set(row) == COLUMNS
            assert row["section"] == name
            if row["value"] is None:
                assert row["note"], row
            elif row["interval"] is not None:
                low, high = row["interval"]
                assert low <= row["value"] <= high, row


def test_the_page_holds_every_number_and_loads_nothing(
    report: tuple[Path, dict[str, Any]],
) -> None:
    out, found = report
    page = (out / "report.html").read_text(encoding="utf-8")
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(found)
    )
    for one in found["sections"].values():
        assert one["title"] in page.replace("&#39;", "'")
    assert "<script" not in page.replace("&lt;script", "")
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert 'src="http' not in page
    assert len(page) < 2_000_000


def test_what_was_measured_is_kept_until_settings_change(small: Path, tmp_path: Path) -> None:
    run(small, tmp_path, "stroop")
    path = tmp_path / "sections" / "stroop.json"
    kept = path.read_bytes()
    marked = kept.replace(b'"seconds": ', b'"seconds": 9')
    path.write_bytes(marked)
    run(small, tmp_path, "stroop")
    assert path.read_bytes() == marked
    found = run(small, tmp_path, "controls")
    assert set(found["sections"]) == {"stroop", "controls"}
    run(small, tmp_path, "stroop", settings=replace(SMALL, seed=1))
    assert path.read_bytes() != marked


def test_settings_that_a_section_does_not_read_leave_it_alone(small: Path, tmp_path: Path) -> None:
    run(small, tmp_path, "stroop")
    path = tmp_path / "sections" / "stroop.json"
    kept = path.read_bytes()
    found = run(small, tmp_path, "controls", settings=replace(SMALL, crops=9, words=31))
    assert set(found["sections"]) == {"stroop", "controls"}
    assert path.read_bytes() == kept
    path.write_bytes(kept[:40])
    run(small, tmp_path, "stroop")
    assert json.loads(path.read_text(encoding="utf-8"))["rows"] == json.loads(kept)["rows"]


def test_what_failed_in_part_is_measured_again(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def failing(*given: Any, **settings: Any) -> Any:
        calls.append(settings["seed"])
        raise SynestheteError("the probe set is not on this machine")

    monkeypatch.setattr("synesthete.reproduction.meanings.causal_check", failing)
    monkeypatch.setattr("synesthete.reproduction.meanings.EMOTIONS", EMOTIONS[:9])
    for _ in range(2):
        rows = run(small, tmp_path, "emotions")["sections"]["emotions"]["rows"]
        assert rows[-1]["n"] == 0
        assert "the probe set is not on this machine" in rows[-1]["note"]
    # Once more at the second run, and as often for random strings; every text with images and units of its own.
    assert len(calls) == 4 * len(set(calls))


def test_another_analysis_is_measured_anew(tmp_path: Path) -> None:
    atlas = record_small(tmp_path)
    write_known_analysis(atlas)
    out = tmp_path / "report"
    row = run(atlas, out, "controls")["sections"]["controls"]["rows"][1]
    assert row["value"] == pytest.approx(2 / row["n"])
    notes = open_atlas(atlas).manifest["analysis"]
    counts = notes["layers"][LAYER] | {"multimodal": 1}
    write_analysis(atlas, {**notes, "layers": {LAYER: counts}})
    again = run(atlas, out, "controls")["sections"]["controls"]["rows"][1]
    assert again["value"] == pytest.approx(1 / row["n"])


def test_a_triage_is_counted_once_a_person_judged_every_unit(small: Path, tmp_path: Path) -> None:
    rows = run(small, tmp_path, "triage")["sections"]["triage"]["rows"]
    assert [row["value"] for row in rows[:3]] == [None] * 3
    assert [row["published"] for row in rows[:3]] == [0.76, 0.18, 0.06]
    (path,) = (tmp_path / "triage").glob("*/judgements.csv")
    page = path.with_name("task.html").read_text(encoding="utf-8")
    neuron = open_atlas(small).neurons()[0]
    assert neuron.concept
    assert f">{neuron.concept}<" not in page
    units = [line["unit"] for line in csv.DictReader(path.open(encoding="utf-8"))]
    written = "unit,judgement\n" + "".join(
        f"{unit},{'interpretable' if i else 'polysemantic'}\n" for i, unit in enumerate(units)
    )
    path.write_text(written, encoding="utf-8")
    rows = run(small, tmp_path, "triage")["sections"]["triage"]["rows"]
    assert [row["value"] for row in rows[:2]] == [(len(units) - 1) / len(units), 1 / len(units)]
    assert path.read_text(encoding="utf-8") == written
    path.write_text("unit,judgement\n0,nice\n", encoding="utf-8")
    (row,) = run(small, tmp_path, "triage")["sections"]["triage"]["rows"]
    assert row["value"] is None
    assert "judgements.csv: unit '0', judgement 'nice'" in row["note"]
    run(small, tmp_path, "triage", settings=replace(SMALL, seed=3))
    assert len(list((tmp_path / "triage").iterdir())) == 2


def test_wrong_input(small: Path, tmp_path: Path) -> None:
    with pytest.raises(SynestheteError, match="no section 'strop'") as caught:
        run(small, tmp_path, "strop")
    assert "stroop" in str(caught.value.hint)
    with pytest.raises(SynestheteError, match="crops is 0, expected at least 1"):
        Settings(crops=0)
    with pytest.raises(SynestheteError, match="give the atlas, or probes"):
        reproduce("mini", tmp_path, sections=["stroop"], atlas=small, probes="concepts")
    with pytest.raises(SynestheteError, match="not of mini"):
        reproduce("mini", tmp_path, sections=["stroop"], atlas=small)


def test_too_few_cities_on_the_crops_give_no_correlation(
    report: tuple[Path, dict[str, Any]],
) -> None:
    _, found = report
    row = found["sections"]["regions"]["rows"][0]
    assert (row["value"] is None) == (row["n"] == 0)
    places = world().positions
    _, seen = agreement(np.full((2, *GRID), np.nan), np.zeros((2, len(places))), places)
    assert seen == 0


def test_classes_are_counted_by_modality(report: tuple[Path, dict[str, Any]]) -> None:
    _, found = report
    rows = found["sections"]["classes"]["rows"]
    assert len({row["measure"].partition(":")[0] for row in rows}) == len(rows) > 1
    assert all(row["published"] is None for row in rows if not row["measure"].startswith("photo"))


def test_a_map_that_follows_the_cities_agrees_with_their_names() -> None:
    places = world().positions
    rng = np.random.default_rng(0)
    spatial = rng.normal(size=(3, *GRID))
    row, column = cells(places)
    names = spatial[:, row, column] + 0.01 * rng.normal(size=(3, len(places)))
    found, seen = agreement(spatial, names, places)
    assert seen == len(places)
    assert (np.diag(found) > 0.99).all()
    assert (np.abs(found[~np.eye(3, dtype=bool)]) < 0.2).all()
    assert (np.abs(np.diag(agreement(spatial[:, ::-1], names, places)[0])) < 0.2).all()


def test_the_map_shows_land_where_there_is_land() -> None:
    image = draw_map((720, 360))
    sahara, atlantic = (
        image.getpixel((2 * (180 + lon), 2 * (90 - lat))) for lon, lat in ((10, 24), (-40, 30))
    )
    assert sahara != atlantic


def test_the_published_maps_agree_with_the_published_names_and_not_with_others() -> None:
    read = regions()
    found, _ = agreement(read.spatial, read.city, world().positions)
    assert np.diag(found).mean() > 0.2
    assert abs(found[~np.eye(len(found), dtype=bool)].mean()) < 0.05
    assert read.model.count("contrastive_4x") == 19


def test_published_names_belong_to_the_published_weights_alone() -> None:
    address = "visual.layer4.5:pre:89"
    for model in MODELS:
        assert published_name(model, address) == "Donald Trump (Person Neurons)"
    for model in ("RN50x4/random", "RN50/openai", "mini", "local-dir:RN50x4/openai"):
        assert published_name(model, address) is None
    assert published_name(MODELS[0], "visual.layer4.4:89") is None
    assert len(emotions().words) == 126


def test_the_published_weights_are_those_of_the_file() -> None:
    theirs = emotions()
    first = dict(zip(theirs.words, theirs.weights, strict=True))["fearful"]
    assert theirs.units[first.argmax()] == 1486
    assert first.max() == pytest.approx(210.44)
    assert (theirs.weights >= 0).all()
    assert np.count_nonzero(dict(zip(theirs.words, theirs.weights, strict=True))["scared"]) == 3


@pytest.mark.parametrize(("moved", "expected"), [(0, 1.0), (1, 0.0)])
def test_of_the_articles_model_sums_are_compared_unit_by_unit(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int, expected: float
) -> None:
    atlas = open_atlas(small)
    ours = word_factors(atlas, EMOTIONS[:9], factors=2, layer=LAYER, terms=10)
    # Units that no sum of ours has are numbers that the layer does not have.
    published = Emotions(
        words=list(EMOTIONS[:9]), units=ours.units + moved * 10_000, weights=ours.weights
    )
    monkeypatch.setattr("synesthete.reproduction.section.MODELS", (model_of(small),))
    monkeypatch.setattr("synesthete.reproduction.section.LAYER", LAYER)
    monkeypatch.setattr("synesthete.reproduction.meanings.published_emotions", lambda: published)
    monkeypatch.setattr("synesthete.reproduction.meanings.EMOTIONS", EMOTIONS[:9])
    monkeypatch.setattr("synesthete.reproduction.meanings.CHECKED", 0)
    rows = run(small, tmp_path, "emotions")["sections"]["emotions"]["rows"]
    assert rows[-1]["measure"].startswith("words whose first unit in the article")
    assert (rows[-1]["n"], rows[-1]["value"]) == (9, expected)
    assert [row["published"] for row in rows if "factors keep" in row["measure"]] == [
        factored(published.weights, 2)[2], factored(published.weights, 7)[2]
    ]  # fmt: skip


def test_word_arithmetic_is_solved_by_a_difference_that_pairs_share() -> None:
    rng = np.random.default_rng(0)
    pairs = np.arange(12).reshape(6, 2)
    vectors = rng.normal(size=(200, 64)).astype(np.float32)
    same = vectors.copy()
    same[pairs[:, 1]] = same[pairs[:, 0]] + 2 * rng.normal(size=64)
    lengths = np.linalg.norm(same, axis=1, keepdims=True)
    by_sum, alone = arithmetic((same / lengths).astype(np.float32), pairs)
    assert (by_sum == 1).all()
    assert len(by_sum) == len(alone) == 6
    by_sum, alone = arithmetic(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), pairs)
    assert by_sum.mean() < 0.5
    assert alone.mean() < 0.5
    empty = arithmetic(vectors, np.empty((0, 2), np.int64))
    assert [len(one) for one in empty] == [0, 0]


def test_outcomes_in_groups_are_drawn_by_group() -> None:
    same = [[True] * 50, [False] * 50]
    row = pooled_row("a", "b", same, seed=0)
    assert (row.n, row.value, row.interval) == (100, 0.5, (0.0, 1.0))
    every = pooled_row("a", "b", [[True] * 7] * 8, seed=0)
    assert every.interval == wilson_interval(8, 8)
    assert pooled_row("a", "b", [[], []], seed=0).value is None
    assert mean_row("a", "b", [1.0] * 10, seed=0).interval == wilson_interval(10, 10)


def test_what_means_nothing_stands_beside_emotions(report: tuple[Path, dict[str, Any]]) -> None:
    rows = report[1]["sections"]["emotions"]["rows"]
    assert all(row["control"] is not None for row in rows if row["n"])
    first, second = (_nonsense(36, seed) for seed in (0, 1))
    assert len({*first, *second}) == 72
    assert all(len(one) == 6 and one.isalpha() for one in first)


def test_photos_are_compared_with_those_that_the_article_shows(
    report: tuple[Path, dict[str, Any]],
) -> None:
    rows = [
        row
        for row in report[1]["sections"]["typographic"]["rows"]
        if row["measure"].startswith("photos")
    ]
    assert [row["n"] for row in rows] == [34, 154]
    assert [row["published"] for row in rows] == [pytest.approx(25 / 34, abs=1e-4), None]


def test_artists_decide_how_wide_a_count_is() -> None:
    row = share("controls", "units", Rate(30, 100), note="of all")
    counts = {
        "multimodal": 30,
        "stability": {"resamples": {"multimodal": [12, 20]}, "splits": {"multimodal": [25, 28]}},
    }
    found = _over_artists(row, counts, "multimodal")
    assert found.interval == (0.12, wilson_interval(30, 100)[1])
    assert "0.250 to 0.280, mean 0.265" in found.note
    assert _over_artists(row, {"multimodal": 30}, "multimodal").interval == row.interval


def test_words_are_added_and_compared_with_the_article(
    report: tuple[Path, dict[str, Any]],
) -> None:
    rows = report[1]["sections"]["words"]["rows"]
    sums = [row for row in rows if "king - man + woman" in row["measure"]]
    assert [(row["n"], row["published"]) for row in sums] == [(10, None)]
    assert sums[0]["control"] is not None
    rows = report[1]["sections"]["conditional"]["rows"]
    assert rows[-1]["published"] == pytest.approx(33.0, abs=0.1)
