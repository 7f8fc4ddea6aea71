"""A neuron is gathered once: its tile, page, JSON, card and table say the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from synesthete.atlas import Atlas, open_atlas, write_unit_tables
from synesthete.atlas.words import write_words
from synesthete.cli.atlas import report_view
from synesthete.cli.command import Output, show
from synesthete.report import NeuronReport, concept_report, layer_report, neuron_report, source_of
from synesthete.report.card import draw
from synesthete.report.columns import coded
from synesthete.report.counts import counts_of
from synesthete.report.neuron import neuron_row
from synesthete.report.notebook import atlas_html
from synesthete.report.source import Links, Opened, Source
from synesthete.server.library import Site
from synesthete.server.pages import PAGES
from synesthete.server.render import render
from tests.small_atlas import LAYER

ADDRESS = f"{LAYER}:0"


def words(svg: str) -> list[str]:
    return [
        "".join(node.itertext())
        for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]


def page(source: Source, path: str, facts: object) -> str:
    """A page as HTML, with the words as they are read."""
    found = next(one for one in PAGES if one.path.startswith(path))
    return unescape(render(found.template, Site(source.opened, source.links), facts=facts))


def just_below(report: NeuronReport) -> NeuronReport:
    """The same neuron with an AUC that only rounding lifts to the threshold."""
    first, *rest = report.modalities
    row = replace(
        report.neuron,
        auc=report.neuron.auc | {first.modality: 0.8999},
        multimodality=0.8999,
        passes=[part.modality for part in rest],
        multimodal=False,
    )
    return replace(report, neuron=row, modalities=[replace(first, auc=0.8999, passes=False), *rest])


def test_no_renderer_lifts_an_auc_to_the_threshold(
    atlas: Atlas, capsys: pytest.CaptureFixture[str]
) -> None:
    source = source_of(atlas)
    report = just_below(neuron_report(source, ADDRESS))
    card = words(draw(report, atlas.thumbnail))
    assert card.count("0.89") == 2  # of the modality, and the weakest of all
    html = page(source, "/neuron/", report)
    assert "<strong>0.899</strong>" in html
    show(Output(None, lambda: report_view(atlas, report)))
    table = capsys.readouterr().out
    assert table.count("0.89") == 2
    assert not any("0.90" in text for text in card)
    assert "0.90 " not in table


def test_tile_page_card_and_table_say_the_same(
    atlas: Atlas, capsys: pytest.CaptureFixture[str]
) -> None:
    source = source_of(atlas)
    report = neuron_report(source, ADDRESS)
    columns = source.opened.columns(LAYER)
    assert neuron_row(source, columns, 0) == report.neuron
    html, card = page(source, "/neuron/", report), words(draw(report, atlas.thumbnail))
    show(Output(None, lambda: report_view(atlas, report)))
    table = " ".join(capsys.readouterr().out.split())
    for rendered in (html, " ".join(card), table):
        assert report.neuron.concept in rendered
        assert report.sentence in rendered
    assert report.rule.sentence in " ".join(card)


def test_the_counts_stand_in_one_order_everywhere(atlas: Atlas) -> None:
    counts = counts_of(atlas.summary())
    assert counts is not None
    assert [row.count for row in counts.rows] == [2, 1, 0, 0, 0]
    html = atlas_html(atlas)
    assert [html.index(row.name) for row in counts.rows] == sorted(
        html.index(row.name) for row in counts.rows
    )
    report = neuron_report(source_of(atlas), ADDRESS)
    assert report.counts is not None
    assert [row.count for row in report.counts.rows] == [2, 1, 0, 0, 0]
    assert counts_of({"units": 3, "multimodal": None}) is None


def test_the_card_bears_the_tested_name(atlas_path: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(atlas_path, tmp_path / "named.atlas"))
    names = {
        "unit": [0],
        "rank": [0],
        "name": ["red apple"],
        "method": ["ours"],
        "score": [0.9],
        "confidence": [0.97],
        "confidence_low": [0.9],
        "confidence_high": [1.0],
    }
    write_unit_tables(
        path, "names", {LAYER: pa.table(names)}, {"layers": {LAYER: {"threshold": 0.9}}}
    )
    atlas = open_atlas(path)
    source = source_of(atlas)
    report = neuron_report(source, ADDRESS)
    assert "red apple" in words(draw(report, atlas.thumbnail))
    assert "<h1>red apple</h1>" in page(source, "/neuron/", report)
    assert report.title.startswith("red apple: ")


def test_json_has_no_number_of_an_image(atlas: Atlas) -> None:
    report = neuron_report(source_of(atlas), ADDRESS)
    facts = TypeAdapter(NeuronReport).dump_python(report, mode="json")
    assert report.most[0].image >= 0
    assert "image" not in facts["most"][0]
    assert "own_values" not in facts["distribution"]


def test_what_is_kept_of_an_atlas_has_the_links_of_whoever_asks(atlas: Atlas) -> None:
    opened = Opened("small", atlas)
    for prefix in ("", "/a/small"):
        report = neuron_report(Source(opened, Links(prefix)), ADDRESS)
        assert report.meaning is not None
        assert all(curve.path.startswith(f"{prefix}/concept/") for curve in report.meaning.curves)


def test_a_word_in_its_own_letter_case_comes_first() -> None:
    column = coded(pa.array(["Turkey", "turkey", "turkey", None]))
    assert column.rows("turkey").tolist() == [False, True, True, False]
    assert column.rows("Turkey").tolist() == [True, False, False, False]
    assert column.rows("TURKEY").tolist() == [True, False, False, False]


def test_a_layer_and_a_concept_are_gathered_without_a_server(atlas: Atlas) -> None:
    source = source_of(atlas)
    layer = layer_report(source, LAYER)
    assert (layer.layer, layer.units) == (LAYER, 256)
    assert sum(choice.count for choice in layer.profiles) == 256
    concept = concept_report(source, "apple")
    columns = source.opened.columns(LAYER)
    own = np.flatnonzero(columns.concept.rows("apple") & ~columns.dead)
    assert concept.known_by == len(own)
    assert concept.neurons[0] == neuron_report(source, concept.neurons[0].address).neuron


def test_words_that_leave_a_neuron_silent_are_not_shown(atlas: Atlas, tmp_path: Path) -> None:
    path = Path(shutil.copytree(atlas.path, tmp_path / "own.atlas"))
    units = atlas.layer(LAYER)["units"]
    given = np.zeros((3, units), np.float16)
    given[1, 0] = 2.0
    given[:, 1] = 1.0
    dim = np.load(path / "embeddings.npy", mmap_mode="r").shape[1]
    write_words(path, ["axe", "bee", "cat"], {LAYER: given}, np.zeros((3, dim), np.float16), {})
    source = source_of(open_atlas(path))
    shown, silent = (neuron_report(source, f"{LAYER}:{unit}") for unit in (0, 1))
    assert [one.word for one in shown.words or ()] == ["bee"]
    assert silent.words == []
    assert "None of 3 drawn words" in page(source, "/neuron/", silent)
