"""The card shows what the atlas says, holds any text, and stands alone as page and as image."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synesthete.atlas import Atlas, open_atlas
from synesthete.errors import SynestheteError
from synesthete.report import NeuronReport, neuron_card, neuron_report, source_of, write_card
from synesthete.report.card import card_page, draw
from synesthete.report.images import Box
from synesthete.report.neuron import summary_sentence
from synesthete.report.svg import DARK, LIGHT, escape, render
from tests.small_atlas import LAYER, NASTY, record_small, write_known_analysis

SVG = "{http://www.w3.org/2000/svg}"


def report_of(atlas: Atlas, unit: int) -> NeuronReport:
    return neuron_report(source_of(atlas), f"{LAYER}:{unit}")


def page_of(atlas: Atlas, unit: int) -> str:
    report = report_of(atlas, unit)
    return card_page(report, draw(report, atlas.thumbnail))


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")]


def test_the_card_says_what_the_atlas_says(atlas: Atlas) -> None:
    found = texts(neuron_card(atlas, f"{LAYER}:0"))
    assert f"{LAYER}:0" in found
    assert "apple" in found
    assert "0.97" in found
    assert "q = 2 × 10⁻⁵" in found or "q = 3 × 10⁻⁵" in found
    assert "food  ·  answers to 2 concepts" in found
    for modality in ("photo", "drawing", "symbol", "word"):
        assert modality in found
    assert found.count("n = 3 of 12, held out") == 4


def test_no_count_without_its_controls(atlas: Atlas) -> None:
    found = texts(neuron_card(atlas, f"{LAYER}:1"))
    at = found.index("multimodal in this layer")
    assert found[at - 1 : at + 9] == [
        "2 of 256",
        "multimodal in this layer",
        "1 of 256",
        "in its random twin",
        "0 of 256",
        "with permuted weights",
        "0 of 256",
        "in random mixtures",
        "0 of 256",
        "with shuffled labels",
    ]


def test_exemplars_are_the_strongest_images_of_each_modality(atlas: Atlas) -> None:
    facts = report_of(atlas, 0)
    activations = np.asarray(atlas.activations(LAYER)[:, 0], dtype=float)
    modality = np.array(atlas.probes["modality"].to_pylist())
    concept = atlas.probes["concept"].to_pylist()
    for row in facts.modalities:
        ids = np.flatnonzero((modality == row.modality) & np.isfinite(activations))
        best = sorted(ids, key=lambda image: (-activations[image], image))[:8]
        assert [exemplar.image for exemplar in row.exemplars] == best
        assert [exemplar.value for exemplar in row.exemplars] == [activations[i] for i in best]
        assert [exemplar.own for exemplar in row.exemplars] == [concept[i] == "apple" for i in best]


def test_the_box_is_where_the_maximum_lies(atlas: Atlas) -> None:
    facts = report_of(atlas, 0)
    top = atlas.exemplars(LAYER).top(0, "word", limit=8)
    word = next(row for row in facts.modalities if row.modality == "word")
    for exemplar, position in zip(word.exemplars, top.positions.tolist(), strict=True):
        if exemplar.value == 0:
            assert exemplar.box is None
        else:
            row, column = divmod(position, 2)
            assert exemplar.box == Box(row, column, 2, 2)


def test_wrong_exemplars_are_framed_otherwise_and_named(atlas: Atlas) -> None:
    facts = report_of(atlas, 0)
    exemplars = [exemplar for row in facts.modalities for exemplar in row.exemplars]
    root = ET.fromstring(draw(facts, atlas.thumbnail))
    framed = [node for node in root.iter(f"{SVG}rect") if node.get("class") == "accent-line"]
    own = [node for node in framed if float(node.get("width", 0)) > 80]
    assert len(own) == sum(exemplar.own for exemplar in exemplars)
    names = texts(draw(facts, atlas.thumbnail))
    for concept in ("boat", "drum"):
        wrong = sum(not exemplar.own and exemplar.concept == concept for exemplar in exemplars)
        assert names.count(concept) >= wrong


def test_any_text_is_only_text(atlas: Atlas) -> None:
    page = page_of(atlas, 1)
    svg = neuron_card(atlas, f"{LAYER}:1")
    assert "<b>&cat</b>" in texts(svg)
    assert "\u0007" not in svg
    seen: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            seen.append(tag)

    Reader().feed(page)
    assert "script" not in seen
    assert "b" not in seen
    alts = [node.get("aria-label") or "" for node in ET.fromstring(svg).iter(f"{SVG}image")]
    assert any(NASTY.replace("\u0007", "\ufffd") in alt for alt in alts)


def test_escape_is_undone_by_a_parser() -> None:
    for content in (NASTY.replace("\u0007", ""), "a'b\"c<d>&amp;", "émoji 🍎 \u200d ½"):
        node = ET.fromstring(f'<t a="{escape(content)}">{escape(content)}</t>')
        assert (node.text, node.get("a")) == (content, content)


def test_the_page_stands_alone_in_both_themes(atlas: Atlas) -> None:
    page = page_of(atlas, 0)
    assert "default-src 'none'" in page
    loaded = re.findall(r"(?:src|href)=\"([^\"]*)\"|url\(([^)]*)\)", page)
    assert loaded
    assert all(first.startswith("data:") or second.startswith("data:") for first, second in loaded)
    assert (
        page.index(LIGHT["ground"])
        < page.index("prefers-color-scheme:dark")
        < page.index(DARK["ink"])
    )
    assert set(re.findall(r'class="([a-z-]+)"', page)) <= {
        f"{name}{ending}" for name in LIGHT for ending in ("", "-line")
    }


def test_every_image_has_a_description(atlas: Atlas) -> None:
    root = ET.fromstring(neuron_card(atlas, f"{LAYER}:0"))
    assert root.find(f"{SVG}title") is not None
    assert "AUC as word" in (root.find(f"{SVG}desc").text or "")  # type: ignore[union-attr]
    images = list(root.iter(f"{SVG}image"))
    assert len(images) >= 32
    assert all(image.get("aria-label") for image in images)


@pytest.mark.parametrize("unit", [0, 2, 255])
def test_write_card(atlas: Atlas, tmp_path: Path, unit: int) -> None:
    files = write_card(atlas, atlas.neuron(f"{LAYER}:{unit}"), tmp_path / "deep" / "folder")
    assert files.html.name == f"{LAYER}-{unit}.html"
    image = Image.open(io.BytesIO(files.png.read_bytes()))
    assert image.width == 2144
    # Ink, and not only ground: the fonts were found.
    header = np.asarray(image.convert("L"))[60:260, 60:700]
    assert (header < 100).mean() > 0.005


def test_writing_twice_gives_the_same_bytes(atlas: Atlas, tmp_path: Path) -> None:
    neuron = atlas.neuron(f"{LAYER}:0")
    first, second = (write_card(atlas, neuron, tmp_path / name) for name in ("a", "b"))
    assert first.html.read_bytes() == second.html.read_bytes()
    assert first.png.read_bytes() == second.png.read_bytes()


def test_a_file_in_the_place_of_the_folder(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SynestheteError, match="is a file"):
        write_card(atlas, atlas.neuron(f"{LAYER}:0"), tmp_path / "file")


@pytest.mark.parametrize(
    ("unit", "sentence"),
    [
        (
            0,
            "Concept cell: it tells apple from everything else as photo, drawing, symbol and word.",
        ),
        (2, "Dead: it gives the same value for every image."),
        (
            3,
            "Not multimodal: its AUC for drum reaches 0.9 and its average precision 0.2 only as symbol and word.",
        ),
        (255, "Not multimodal: drum is only its best match."),
    ],
)
def test_sentences(atlas: Atlas, unit: int, sentence: str) -> None:
    assert report_of(atlas, unit).sentence == sentence


def test_a_high_auc_that_is_not_certain(atlas: Atlas) -> None:
    facts = report_of(atlas, 0)
    unsure = replace(facts.neuron, multimodal=False, q=0.12)
    assert summary_sentence(unsure, facts.rule, tested=True) == (
        "Not multimodal: its AUC for apple reaches 0.9 as photo, drawing, symbol and word, but q is 0.12."
    )


def test_inhibition_is_shown_where_there_is_some(atlas: Atlas) -> None:
    facts = report_of(atlas, 0)
    assert any("give the lowest value" in text for text in texts(draw(facts, atlas.thumbnail)))
    some = [replace(exemplar, value=-1.0 - place) for place, exemplar in enumerate(facts.least)]
    shown = texts(draw(replace(facts, least=some), atlas.thumbnail))
    assert "−8.00" in shown
    assert "most inhibited" in shown


def test_letters_beyond_the_shipped_fonts(atlas: Atlas) -> None:
    facts = report_of(atlas, 0)
    named = replace(facts, neuron=replace(facts.neuron, heading="りんご " * 30))
    assert render(draw(named, atlas.thumbnail), zoom=1).startswith(b"\x89PNG")


def test_a_card_without_the_dense_matrix(tmp_path: Path) -> None:
    path = record_small(tmp_path, dense=False)
    write_known_analysis(path)
    atlas = open_atlas(path)
    assert not atlas.manifest["dense"]
    facts = report_of(atlas, 5)
    assert sum(facts.distribution.counts) == 64
    assert "ticks" not in " ".join(texts(draw(facts, atlas.thumbnail)))
