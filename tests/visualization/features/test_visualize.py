"""`visualize`: what is written into an atlas, what is kept, what is refused; facets and their probes; percentiles."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from PIL import Image

from synesthete.atlas import Atlas, files, open_atlas
from synesthete.atlas import visualizations as store
from synesthete.errors import SynestheteError
from synesthete.models.gradients import GradientTower
from synesthete.models.image_text_model import ImageTextModel
from synesthete.recording import Executor
from synesthete.visualization.features import (
    Settings,
    class_target,
    direction_target,
    sum_target,
    text_target,
    unit_target,
    visualize,
)
from synesthete.visualization.features import facets as facets_module
from synesthete.visualization.features.facets import fit_probes, load_facets, load_natural
from synesthete.visualization.features.run import Recipe, Renderer
from synesthete.visualization.features.sheet import contact_sheet, write_sheet
from synesthete.visualization.features.targets import Real, real_activations, real_values, responses
from tests.recording.trees import tree
from tests.small_atlas import LAYER

QUICK = Settings(steps=6, least_steps=6, strengths=(1.0,), batch=8)


@pytest.fixture(autouse=True)
def small_facets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small probe set has sixteen images of each modality."""
    monkeypatch.setattr(facets_module, "LEAST", 12)


def live(atlas: Atlas) -> list[str]:
    std = atlas.statistics(LAYER).std
    return [f"{LAYER}:{unit}" for unit in np.flatnonzero(std > 0)[:3]]


def test_images_are_written_scored_and_kept(own: Path) -> None:
    atlas = open_atlas(own)
    found = visualize(atlas, live(atlas)[:2], facets="word,symbol", settings=QUICK)
    assert found.created == 6
    assert not found.failed
    assert [one.facet for one in found.visualizations] == ["plain", "symbol", "word"] * 2
    model = facets_module_model(atlas)
    for one in found.visualizations:
        image = Image.open(own / one.file)
        assert image.size == (64, 64)
        reached = model.read(model.preprocess(image.convert("RGB"))[None], [LAYER]).activations
        assert float(reached[LAYER][0, one.unit]) == pytest.approx(
            one.activation, rel=1e-4, abs=1e-5
        )
        real = np.asarray(atlas.activations(LAYER)[:, one.unit], np.float64)
        real = real[np.isfinite(real)]
        assert one.percentile == pytest.approx(100 * np.mean(real < one.activation))
        assert one.excites == (one.percentile >= 99.9)
        assert (one.fidelity is None) == (one.facet == "plain")
    assert atlas.visualizations(LAYER) == sorted(
        found.visualizations, key=lambda p: (p.unit, p.facet != "plain", p.facet)
    )
    assert atlas.verify() == []
    before = {one.file: (own / one.file).stat().st_mtime_ns for one in found.visualizations}
    again = visualize(own, live(atlas)[:2], facets="word,symbol", settings=QUICK)
    assert (again.created, again.visualizations) == (0, found.visualizations)
    assert before == {one.file: (own / one.file).stat().st_mtime_ns for one in again.visualizations}
    # A lost and an altered file are created again, to the same bytes.
    (own / found.visualizations[0].file).unlink()
    (own / found.visualizations[4].file).write_bytes(b"no image")
    repaired = visualize(own, live(atlas)[:2], facets="word,symbol", settings=QUICK)
    assert repaired.created == 2
    other = visualize(own, live(atlas)[:1], facets="none", settings=Settings(steps=12))
    assert other.created == 1, "other settings make other images"


def facets_module_model(atlas: Atlas):  # type: ignore[no-untyped-def]
    from synesthete.analysis.provenance import own_model

    return own_model(atlas)


def test_interrupted_work_is_taken_up(own: Path) -> None:
    atlas = open_atlas(own)
    few = Settings(steps=6, least_steps=6, batch=1)

    def interrupt(done: int, total: int) -> None:
        if atlas.visualizations(LAYER):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        visualize(own, live(atlas), facets="none", settings=few, progress=interrupt)
    assert 1 <= len(atlas.visualizations(LAYER)) < 3
    reports: list[tuple[int, int]] = []
    found = visualize(
        own, live(atlas), facets="none", settings=few, progress=lambda *now: reports.append(now)
    )
    assert found.created < 3
    assert len(found.visualizations) == 3
    done, totals = zip(*reports, strict=True)
    assert list(done) == sorted(done)
    assert done[0] == few.steps * (3 - found.created), "what is kept counts as all of its steps"
    assert (totals[0], done[-1]) == (3 * few.steps, totals[-1])
    assert len(reports) > few.steps


def test_whoever_optimises_and_whoever_is_killed_meanwhile(own: Path, tmp_path: Path) -> None:
    """The files are those of one process with as many threads as each of the workers has."""
    others = Path(shutil.copytree(own, tmp_path / "others.atlas"))
    units = np.ones(int(open_atlas(own).layer(LAYER)["units"]), np.float32)
    targets = [*live(open_atlas(own)), direction_target(open_atlas(own), units, LAYER, name="sum")]
    few = Settings(steps=6, least_steps=6, batch=2)
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // 2))
    try:
        alone = visualize(own, targets, facets="word", settings=few)
    finally:
        torch.set_num_threads(threads)
    before = set(multiprocessing.active_children())
    killed: list[int] = []
    reports = []

    def kill(done: int, total: int) -> None:
        reports.append((done, total))
        if done and not killed:
            for worker in set(multiprocessing.active_children()) - before:
                os.kill(worker.pid or 0, signal.SIGKILL)
                killed.append(worker.pid or 0)

    two = Executor(kind="processes", workers=2)
    found = visualize(others, targets, facets="word", settings=few, executor=two, progress=kill)
    assert len(killed) == 2
    assert max(reports) == reports[-1] == (48, 48)
    assert found.visualizations == alone.visualizations
    assert (found.created, found.failed) == (8, {})
    assert tree(others) == tree(own)
    # Nothing is left to do: no workers.
    again = visualize(others, targets, facets="word", settings=few, executor=two)
    assert (again.created, again.visualizations) == (0, found.visualizations)


def test_the_tower_is_copied_once_for_all_pieces(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[GradientTower] = []

    def counting(self: GradientTower, model: ImageTextModel) -> None:
        copies.append(self)
        prepare(self, model)

    prepare = GradientTower.__init__
    monkeypatch.setattr(GradientTower, "__init__", counting)
    atlas, few = open_atlas(own), Settings(steps=2, least_steps=2, batch=1)
    assert visualize(atlas, live(atlas), facets="none", settings=few).created == 3
    assert len(copies) == 2, "one that is looked at, one that is driven"


def test_a_full_disk_is_reported_and_costs_nothing(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    atlas = open_atlas(own)
    visualize(own, live(atlas)[:1], facets="none", settings=QUICK)
    before = atlas.visualizations(LAYER)
    real = files.open_to_write

    def full(path: Path) -> BinaryIO:
        if path.name.endswith(".webp.tmp"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path)

    monkeypatch.setattr(files, "open_to_write", full)
    with pytest.raises(SynestheteError, match="disk full"):
        visualize(own, live(atlas)[1:2], facets="none", settings=QUICK)
    monkeypatch.undo()
    assert atlas.visualizations(LAYER) == before


def test_two_at_a_time_are_refused(own: Path) -> None:
    with (
        store.claim_visualizations(own),
        pytest.raises(SynestheteError, match="another process is making images"),
    ):
        visualize(own, live(open_atlas(own))[:1], facets="none", settings=QUICK)


def test_least_copies_and_own_facets(own: Path, tmp_path: Path) -> None:
    atlas = open_atlas(own)
    folder = tmp_path / "stripes"
    folder.mkdir()
    for i in range(14):
        stripes = np.zeros((64, 64, 3), np.uint8)
        stripes[:, i % 4 :: 8] = 255
        Image.fromarray(stripes).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"")
    two = Settings(steps=6, least_steps=6, strengths=(1.0,), copies=2, diversity=1.0)
    found = visualize(
        own, live(atlas)[:1], facets="none", folders={"stripes": folder}, goal="least", settings=two
    )
    listed = [(one.facet, one.copy, one.goal) for one in found.visualizations]
    assert sorted(listed) == [(f, c, "least") for f in ("plain", "stripes") for c in (0, 1)]
    assert len({one.sha256 for one in found.visualizations}) == 4
    probe = next(iter(found.facets.values())).probes["stripes"]
    assert probe.accuracy > 0.9


def test_directions(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atlas = open_atlas(own)
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=16).astype(np.float32)
    units = rng.normal(size=int(atlas.layer(LAYER)["units"])).astype(np.float32)

    def embedded(atlas: Atlas, texts: list[str]) -> np.ndarray:
        return np.stack(
            [np.roll(embedding, i) / np.linalg.norm(embedding) for i in range(len(texts))]
        )

    monkeypatch.setattr("synesthete.visualization.features.targets._embedded", embedded)
    targets = [
        text_target(atlas, "apple"),
        class_target(atlas, "boat"),
        direction_target(atlas, units, LAYER, name="direction:mine"),
    ]
    found = visualize(own, targets, facets="word", settings=QUICK)
    names = ["text:apple", "class:boat", "direction:mine"]
    assert [one.target for one in found.visualizations[::2]] == names
    assert {one.unit for one in found.visualizations} == {-1}
    assert {one.target for one in atlas.visualizations()} == set(names)
    # The score of a text is its cosine with the stored image.
    model = facets_module_model(atlas)
    text = found.visualizations[0]
    image = model.preprocess(Image.open(own / text.file).convert("RGB"))[None]
    cosine = float(model.encode_images(image)[0] @ embedding / np.linalg.norm(embedding))
    assert text.activation == pytest.approx(cosine, abs=1e-4)
    # A direction in a layer is reduced after the sum, which the reduced activations do not tell.
    mine = next(one for one in found.visualizations if one.target == "direction:mine")
    image = model.preprocess(Image.open(own / mine.file).convert("RGB"))[None]
    maps = model.maps(image, LAYER)[0].flatten(1).numpy()
    assert mine.activation == pytest.approx(float((units @ maps).max()), rel=1e-3)


def test_a_sum_of_units_is_a_direction(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    atlas = open_atlas(own)
    terms = [
        SimpleNamespace(address=address, weight=w)
        for address, w in zip(live(atlas), (2, -1, 0.5), strict=True)
    ]
    fitted = SimpleNamespace(layer=LAYER, terms=terms)
    monkeypatch.setattr("synesthete.analysis.decomposition.decompose", lambda *a, **k: fitted)
    target = sum_target(atlas, "apple")
    std = atlas.statistics(LAYER).std
    for term in terms:
        unit = atlas.locate(term.address)[1]
        assert target.direction[unit] == pytest.approx(term.weight / std[unit])
    assert (target.direction != 0).sum() == 3


def test_wrong_requests_are_refused(own: Path, tmp_path: Path) -> None:
    atlas = open_atlas(own)
    constant = np.flatnonzero(~(atlas.statistics(LAYER).std > 0))
    for address in [f"{LAYER}:{unit}" for unit in constant[:1]]:
        with pytest.raises(SynestheteError, match="for every image, so there is nothing to see"):
            visualize(own, [address], settings=QUICK)
    with pytest.raises(SynestheteError, match="no unit 9999"):
        visualize(own, [f"{LAYER}:9999"], settings=QUICK)
    with pytest.raises(SynestheteError, match=r"no facet 'wrod'.*'word'"):
        visualize(own, live(atlas)[:1], facets="wrod", settings=QUICK)
    with pytest.raises(SynestheteError, match="no target to visualize"):
        visualize(own, [], settings=QUICK)
    with pytest.raises(SynestheteError, match="no such goal"):
        visualize(own, live(atlas)[:1], goal="more", settings=QUICK)
    three = tmp_path / "three"
    three.mkdir()
    for i in range(3):
        Image.new("RGB", (32, 32), (i, i, i)).save(three / f"{i}.png")
    with pytest.raises(SynestheteError, match="'three' has 3 readable images"):
        visualize(own, live(atlas)[:1], folders={"three": three}, settings=QUICK)
    with pytest.raises(SynestheteError, match="needs a folder of images"):
        visualize(own, live(atlas)[:1], folders={"gone": tmp_path / "gone"}, settings=QUICK)
    with pytest.raises(SynestheteError, match="has the shape"):
        direction_target(atlas, [1.0, 2.0], LAYER, name="short")
    with pytest.raises(SynestheteError, match="not zero everywhere"):
        direction_target(atlas, np.zeros(16), None, name="zero")
    with pytest.raises(SynestheteError, match="an empty text"):
        text_target(atlas, " ")


def test_a_unit_that_is_constant_is_refused(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "synesthete.visualization.features.targets.real_activations",
        lambda *a: real_values(np.full(9, 0.25)),
    )
    with pytest.raises(SynestheteError, match=r"gave 0\.25 for every image"):
        unit_target(open_atlas(own), f"{LAYER}:0")


def test_a_damaged_table_is_reported(own: Path) -> None:
    atlas = open_atlas(own)
    visualize(own, live(atlas)[:1], facets="none", settings=QUICK)
    table = own / store.folder_of(LAYER, 0) / store.TABLE
    table.write_bytes(b"PAR1 no")
    with pytest.raises(SynestheteError, match=r"is damaged.*delete"):
        atlas.visualizations(LAYER)


def test_facets_that_the_images_do_not_have_are_left_out_with_the_reason(own: Path) -> None:
    atlas = open_atlas(own)
    model = facets_module_model(atlas)
    found = load_facets(atlas, model, "visual.layer3.0", ["plain", "word", "flag", "indoor"])
    assert list(found.probes) == ["word"]
    assert set(found.left_out) == {"flag", "indoor"}
    assert "has 0 images of it" in found.left_out["flag"]


def test_probes_are_kept_and_a_damaged_one_is_fitted_again(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    atlas = open_atlas(own)
    model = facets_module_model(atlas)
    first = load_facets(atlas, model, "visual.layer3.0", ["word"])
    with monkeypatch.context() as patch:
        patch.setattr(facets_module, "fit_probes", None)  # must not be called
        second = load_facets(atlas, model, "visual.layer3.0", ["word"])
    np.testing.assert_allclose(
        first.probes["word"].weights, second.probes["word"].weights, atol=2e-3, rtol=2e-3
    )
    (own / store.FOLDER / "facets" / f"{first.fingerprint}.npz").write_bytes(b"PK no")
    third = load_facets(atlas, model, "visual.layer3.0", ["word"])
    assert third.fingerprint == first.fingerprint
    other = load_facets(atlas, model, "visual.layer2.0", ["word"])
    assert other.fingerprint != first.fingerprint


def test_a_probe_against_scikit_learn() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    maps = rng.normal(size=(40, 3, 2, 2)).astype(np.float32) + 1
    member = (rng.random(40) < 0.3)[None]
    (probe,) = fit_probes(maps, member)
    mine, flat = member[0], maps.reshape(40, -1).astype(np.float64)
    flat = flat - flat.mean(axis=0)
    weight = np.where(mine, 0.5 / mine.sum(), 0.5 / (~mine).sum()) * 40
    ridge = 0.3 * np.trace(flat @ flat.T) / 40
    oracle = Ridge(alpha=ridge, fit_intercept=False).fit(
        flat, np.where(mine, 1, -1), sample_weight=weight
    )
    expected = oracle.coef_ / np.sqrt((oracle.coef_**2).mean())
    np.testing.assert_allclose(probe.weights.reshape(-1), expected, rtol=1e-3, atol=1e-3)
    margins = probe.margins(maps)
    middle = (margins[mine].mean() + margins[~mine].mean()) / 2
    assert middle == pytest.approx(0, abs=1e-3)
    with pytest.raises(SynestheteError, match="six images"):
        fit_probes(maps, np.arange(40)[None] < 3)


def test_percentiles_from_a_histogram_give_no_benefit_of_the_doubt(atlas_path: Path) -> None:
    atlas = open_atlas(atlas_path)
    unit = int(live(atlas)[0].rpartition(":")[2])
    exact = real_activations(atlas, LAYER, unit)
    atlas.manifest["dense"] = False
    binned = real_activations(atlas, LAYER, unit)
    for value in np.linspace(exact.low[0] - 0.1, exact.high[-1] + 0.1, 50):
        assert binned.percentile(value, "most") <= exact.percentile(value, "most")
        assert binned.percentile(value, "least") >= exact.percentile(value, "least")
    assert binned.excites(exact.high[-1] * 2 + 1, "most")
    assert not binned.excites(float(exact.low[-1]), "most")


def test_at_the_floor_of_a_relu_nothing_is_inhibited() -> None:
    real = real_values(np.array([0.0] * 9 + [1.0]))
    assert real.percentile(0.0, "least") == 90.0
    assert not real.excites(0.0, "least")
    assert Real(np.zeros(0), np.zeros(0), np.zeros(0), 0.0).percentile(1.0, "most") != 0


def test_a_sheet(own: Path, tmp_path: Path) -> None:
    atlas = open_atlas(own)
    found = visualize(own, live(atlas)[:2], facets="word", settings=QUICK)
    sheet = contact_sheet(atlas, found.visualizations, tile=32)
    assert sheet.height > 2 * 32
    write_sheet(sheet, tmp_path / "sheet.webp")
    assert Image.open(tmp_path / "sheet.webp").size == sheet.size
    write_sheet(sheet, tmp_path / "small.webp", limit=1)
    assert (tmp_path / "small.webp").stat().st_size < (tmp_path / "sheet.webp").stat().st_size
    with pytest.raises(SynestheteError, match="must end in"):
        write_sheet(sheet, tmp_path / "sheet.pdf")
    with pytest.raises(SynestheteError, match="no visualizations"):
        contact_sheet(atlas, [])


def test_probes_are_the_same_when_they_are_fitted_and_when_they_are_read(own: Path) -> None:
    """Killed between the two, a run makes the images that it would have made."""
    atlas = open_atlas(own)
    fitted, kept = (
        load_facets(atlas, facets_module_model(atlas), LAYER, ["word"]).probes["word"] for _ in "ab"
    )
    assert fitted.weights.tobytes() == kept.weights.tobytes()
    assert (fitted.threshold, fitted.spread) == (kept.threshold, kept.spread)


def test_larger_images_are_scored_through_the_models_own_resolution(own: Path) -> None:
    large = Settings(steps=9, least_steps=9, size=130)
    (one,) = visualize(own, live(open_atlas(own))[:1], facets="none", settings=large).visualizations
    image = Image.open(own / one.file).convert("RGB")
    assert image.size == (128, 128), "the nearest power of two times 64 pixels"
    model = facets_module_model(open_atlas(own))
    reached = model.read(model.preprocess(image)[None], [LAYER]).activations[LAYER]
    assert float(reached[0, one.unit]) == pytest.approx(one.activation, rel=1e-4, abs=1e-5)
    # What only the larger image can show is there: it is no enlargement of a small one.
    blurred = image.resize((64, 64)).resize((128, 128), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(image, float) - np.asarray(blurred, float)).mean() > 1
    with pytest.raises(SynestheteError, match="size is 5000, expected 0 to 1024"):
        Settings(size=5000)


def test_of_several_attempts_the_best_by_held_out_views_is_kept(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[str, bool, float, str]] = []
    attempt = Renderer._attempt

    def spy(self: Renderer, *args: Any) -> Any:
        found = attempt(self, *args)
        tried.extend((r.target, r.excites, r.held_out or 0.0, r.sha256) for r, _ in found.values())
        return found

    monkeypatch.setattr(Renderer, "_attempt", spy)
    several = Settings(steps=6, least_steps=6, attempts=3)
    kept = visualize(own, live(open_atlas(own)), facets="none", settings=several).visualizations
    for one in kept:
        mine = [row[1:] for row in tried if row[0] == one.target]
        assert len({sha256 for *_, sha256 in mine}) >= 3
        assert (one.excites, one.held_out, one.sha256) == max(mine)


def test_a_view_of_an_even_image_is_that_image(own: Path) -> None:
    atlas = open_atlas(own)
    model = facets_module_model(atlas)
    recipe = Recipe(
        natural=load_natural(atlas, 64), goal="most", settings=QUICK,
        reduction="max", weights="", images="",
    )  # fmt: skip
    renderer = Renderer(recipe, model)
    directions = np.stack([unit_target(atlas, one).direction for one in live(atlas)[:2]])
    even = torch.stack([model.preprocess(Image.new("RGB", (64, 64), c)) for c in ("red", "#345")])
    noise = torch.rand(even.shape, generator=torch.Generator().manual_seed(0))
    for pixels, alike in ((even, True), (noise, False)):
        straight = np.diagonal(responses(model, pixels, LAYER, directions, "max"))
        held_out = renderer._held_out(pixels, LAYER, directions)
        assert np.allclose(held_out, straight, rtol=1e-4, atol=1e-7) == alike


def test_tables_of_earlier_versions_have_no_held_out_activation(own: Path) -> None:
    import pyarrow.parquet as pq

    visualize(own, live(open_atlas(own))[:1], facets="none", settings=QUICK)
    (file,) = (own / store.FOLDER).glob(f"*/{store.TABLE}")
    pq.write_table(pq.read_table(file).drop_columns(["held_out"]), file)
    (one,) = open_atlas(own).visualizations(LAYER)
    assert one.held_out is None
    assert visualize(own, live(open_atlas(own))[:1], facets="none", settings=QUICK).created == 0
