"""One heading per neuron: the name or the concept, whichever predicts held-out activation better, in every rendering."""

from __future__ import annotations

import math
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from synesthete.atlas import Atlas, open_atlas, write_unit_tables
from synesthete.atlas.neurons import name_leads
from synesthete.cli.atlas import report_view
from synesthete.cli.command import Output, show
from synesthete.report import neuron_report, source_of
from synesthete.report.card import draw
from synesthete.report.images import strongest
from synesthete.server.library import Site
from synesthete.server.pages import PAGES
from synesthete.server.pages.map import map_page
from synesthete.server.render import render
from tests.small_atlas import LAYER, MODALITIES

ADDRESS = f"{LAYER}:0"  # of concept apple, average precision 0.67 in every modality


def named(folder: Path, atlas_path: Path, name: str, ap: float | None) -> Atlas:
    """The small atlas with a name for unit 0 and its average precision in every modality."""
    path = Path(shutil.copytree(atlas_path, folder / "named.atlas"))
    row = {"unit": [0], "rank": [0], "name": [name], "method": ["auc"], "score": [0.9]}
    row |= {f"confidence{end}": [0.97] for end in ("", "_low", "_high")}
    table = pa.table(row | {f"ap_{m}": pa.array([ap], pa.float64()) for m in MODALITIES})
    write_unit_tables(path, "names", {LAYER: table}, {"layers": {LAYER: {"threshold": 0.9}}})
    return open_atlas(path)


@pytest.mark.parametrize(
    ("ap", "heading", "also"),
    [
        (0.9, "boat", "concept apple"),
        (0.5, "apple", "also named boat"),
        (0.67, "boat", "concept apple"),
        (None, "boat", "concept apple"),
    ],
)
def test_every_rendering_has_the_one_heading(
    atlas_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ap: float | None,
    heading: str,
    also: str,
) -> None:
    atlas = named(tmp_path, atlas_path, "boat", ap)
    source = source_of(atlas)
    report = neuron_report(source, ADDRESS)
    row, columns = report.neuron, source.opened.columns(LAYER)
    assert (row.heading, row.also, row.shows) == (heading, also, heading)
    assert (row.name, row.concept) == ("boat", "apple")
    neuron = atlas.neuron(ADDRESS)
    assert (neuron.heading, neuron.also) == (heading, also)
    assert (neuron.as_dict()["heading"], report.title.split(":")[0]) == (heading, heading)
    template = next(one.template for one in PAGES if one.path.startswith("/neuron/"))
    html = unescape(render(template, Site(source.opened, source.links), facts=report))
    assert f"<h1>{heading}</h1>" in html
    assert f"{also}</p>" in html
    card = draw(report, atlas.thumbnail)
    assert also in card
    assert f"shows {heading}" in card
    show(Output(None, lambda: report_view(atlas, report)))
    assert f"● {heading} (" in " ".join(capsys.readouterr().out.split())
    # The images are of what the heading says: those marked, and those of the tile.
    concepts = atlas.probes["concept"].to_pylist()
    for modality in MODALITIES:
        image = strongest(source, columns, 0, modality)
        assert image is not None
        assert concepts[image] == heading
    marked = [one for part in report.modalities for one in part.exemplars if one.own]
    assert {one.concept for one in marked} <= {heading}
    assert sum(report.distribution.own or []) == sum(
        concept == heading and readable
        for concept, readable in zip(concepts, source.opened.probes.readable, strict=True)
    )


def test_a_heading_without_images_shows_the_concepts(atlas_path: Path, tmp_path: Path) -> None:
    report = neuron_report(source_of(named(tmp_path, atlas_path, "red apple", 0.9)), ADDRESS)
    assert (report.neuron.heading, report.neuron.shows) == ("red apple", "apple")


def test_name_and_concept_are_compared_where_both_were_measured() -> None:
    nan = math.nan
    concepts = pa.table(
        {
            "ap_photo": [nan, 0.1, 0.3, nan],
            "ap_word": [0.4, 0.9, nan, nan],
            "ap_low_word": [0.9] * 4,
        }
    )
    names = pa.table(
        {
            "unit": [0, 0, 1, 2, 3],
            "rank": [0, 1, 0, 0, 0],
            "ap_photo": [1.0, 1.0, 0.2, nan, 0.5],
            "ap_word": [0.3, 1.0, nan, 0.2, nan],
        }
    )
    # By word: 0.3 < 0.4. By photo: 0.2 > 0.1. None shared: 0.2 < 0.3. The concept was not measured: the name.
    assert name_leads(concepts, names).tolist() == [False, True, False, True]
    assert not name_leads(concepts, None).any()
    without = names.drop_columns(["ap_photo", "ap_word"])
    assert name_leads(concepts, without).all()


def test_the_map_calls_neurons_as_lists_do(atlas_path: Path, tmp_path: Path) -> None:
    atlas = named(tmp_path, atlas_path, "boat", 0.5)
    units = np.arange(3)
    layout = {"unit": units.astype(np.int32), "rank": np.zeros(3, np.int16)}
    layout |= {"x": units.astype(float), "y": units.astype(float)}
    write_unit_tables(atlas.path, "layout", {LAYER: pa.table(layout)}, {"layers": {}})
    source = source_of(open_atlas(atlas.path))
    points = map_page(Site(source.opened, source.links)).points
    columns = source.opened.columns(LAYER)
    assert [points.texts[code] for code in points.heading] == [columns.heading[u] for u in range(3)]
    assert points.texts[points.heading[0]] == "apple"
