"""Writes what the README and docs/mini.md show: the numbers of demo.atlas, and a real neuron card.

Run it after `make demo`:  .venv/bin/python docs/update_readme.py [--address LAYER:UNIT] [--check]
With --check it changes nothing, and fails when one of the two is not what the atlas says.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np

from synesthete.atlas import Atlas, Neuron, open_atlas
from synesthete.cli.console import count, percent
from synesthete.probes import TEXT_MODALITIES
from synesthete.report.card import neuron_card
from synesthete.report.columns import Columns, in_order, read_columns
from synesthete.report.counts import RANGES, Count, counts_of
from synesthete.report.svg import render

ROOT = Path(__file__).parents[1]
BEGIN = "<!-- numbers: begin, written by docs/update_readme.py -->"
END = "<!-- numbers: end -->"
BEST, STRONGEST = 10, 8


def numbers(atlas: Atlas) -> str:
    """The README's numbers: the count between its controls."""
    facts = atlas.summary()
    of = facts["modalities"]
    modalities = ", ".join(f"{count(n)} as {m}" for m, n in of.items() if m not in TEXT_MODALITIES)
    texts = f"; {count(facts['texts'])} texts" if "texts" in facts else ""
    lines = [
        "| multimodal neurons | count | share | range | concepts |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    counts = counts_of(facts)
    for row in counts.rows if counts else ():
        if row.count is None:  # recorded without this control
            continue
        lines.append(
            f"| {row.name} | {count(row.count)} of {count(counts.units)} | {percent(row.share)} "
            f"| {_span(row)} | {count(row.concepts)} |"
        )
    lines += [
        "",
        f"({count(facts['images'])} images of {count(facts['concepts'])} concepts: {modalities}{texts}; "
        f"`synesthete summary {atlas.path.name}`. {RANGES})",
    ]
    return "\n".join(lines)


def details(atlas: Atlas) -> str:
    """The numbers of docs/mini.md: by modality, and the best neurons."""
    return "\n".join([*_by_modality(atlas), "", *_best(atlas)])


PAGES = {"README.md": numbers, "docs/mini.md": details}


def _span(row: Count) -> str:
    return (
        "–" if row.low is None or row.high is None else f"{percent(row.low)} to {percent(row.high)}"
    )


def _by_modality(atlas: Atlas) -> list[str]:
    """How many concepts each modality can test, and how many of the multimodal neurons it tested and found to pass."""
    columns = [read_columns(atlas, layer) for layer in atlas.main_layers]
    testable = atlas.manifest["analysis"]["modalities"]
    names = in_order(testable)
    rows = {
        "concepts that can be tested": [testable[name]["concepts_testable"] for name in names],
        "multimodal neurons tested": [_multimodal(columns, name, "tested") for name in names],
        "of these, passing": [_multimodal(columns, name, "passes") for name in names],
    }
    return [
        f"| by modality | {' | '.join(names)} |",
        f"| --- |{' ---: |' * len(names)}",
        *(f"| {row} | {' | '.join(map(count, values))} |" for row, values in rows.items()),
    ]


def _multimodal(columns: list[Columns], modality: str, what: str) -> int:
    found = 0
    for layer in columns:
        place = layer.modalities.index(modality)
        there = layer.passes[place] if what == "passes" else ~np.isnan(layer.auc[place])
        found += int((there & layer.multimodal).sum())
    return found


def _best(atlas: Atlas) -> list[str]:
    found = atlas.neurons(multimodal=True, limit=BEST)
    names = in_order(name for neuron in found for name in neuron.auc)
    lines = [
        f"| neuron | concept | verdict | at least | {' | '.join(names)} |",
        f"| --- | --- | --- | ---: |{' ---: |' * len(names)}",
    ]
    for neuron in found:
        values = " | ".join(_precision(neuron.ap.get(name)) for name in names)
        lines.append(
            f"| `{neuron.address}` | {neuron.concept} | {neuron.verdict} "
            f"| {_precision(neuron.lower)} | {values} |"
        )
    return [
        *lines,
        "",
        "(Average precision on held-out artists, by modality; *at least*: the lower end of its 95 % interval in the word and the two best others.)",
    ]


def _precision(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def shown(atlas: Atlas, address: str | None = None) -> Neuron:
    """The neuron of the card and screenshots: the one requested, or of those that pass in most modalities the one whose strongest
    images (`STRONGEST` of each modality) are its own concept's most often.
    """
    if address is not None:
        return atlas.neuron(address)
    threshold = atlas.summary()["threshold"]
    of_image = dict(
        zip(*(atlas.probes[name].to_pylist() for name in ("id", "concept")), strict=True)
    )

    def merit(neuron: Neuron) -> tuple[int, int]:
        strongest = atlas.exemplars(neuron.layer).top_ids[:, neuron.unit, :STRONGEST]
        own = [of_image.get(int(i)) == neuron.concept for i in strongest.ravel()]
        return sum(auc >= threshold for auc in neuron.auc.values()), sum(own)

    return max(atlas.neurons(multimodal=True) or atlas.neurons(), key=merit)


def updated(page: str, block: str) -> str:
    """A page with its numbers replaced."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise SystemExit("a page does not hold the markers of its numbers exactly once")
    return pattern.sub(lambda _: f"{BEGIN}\n{block}\n{END}", page)


def main(arguments: list[str] | None = None) -> int:
    """Update or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atlas", type=Path, default=ROOT / "demo.atlas")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder of README.md and docs/")
    parser.add_argument("--address", help="the neuron to show; the best one when not given")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail when out of date"
    )
    options = parser.parse_args(arguments)
    atlas = open_atlas(options.atlas)
    before = {name: (options.root / name).read_text(encoding="utf-8") for name in PAGES}
    after = {name: updated(page, PAGES[name](atlas)) for name, page in before.items()}
    stale = [name for name in PAGES if before[name] != after[name]]
    if options.check:
        for name in stale:
            print(f"{name} is not what {options.atlas} says: run docs/update_readme.py")
        return int(bool(stale))
    for name in stale:
        (options.root / name).write_text(after[name], encoding="utf-8")
    image = options.root / "docs" / "images" / "neuron.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    neuron = shown(atlas, options.address)
    image.write_bytes(render(neuron_card(atlas, neuron)))
    print(f"{', '.join(PAGES)} and {image} show {atlas.path}, neuron {neuron.address}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
