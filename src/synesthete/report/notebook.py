"""An atlas and its neurons in a notebook: a table of counts with their controls, and the neuron's card."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from synesthete.report.card import draw
from synesthete.report.counts import Count, counts_of
from synesthete.report.neuron import neuron_report
from synesthete.report.source import source_of
from synesthete.report.svg import escape, percent

if TYPE_CHECKING:
    from synesthete.atlas import Atlas, Neuron


def neuron_html(neuron: Neuron) -> str | None:
    """The card of a neuron as one image element; None for a neuron that was read from no atlas.

    As an image it keeps its style to itself, however many cards a notebook shows.

    Raises
    ------
    SynestheteError
        When its atlas is gone or damaged.
    """
    if neuron.source is None:
        return None
    from synesthete.atlas import open_atlas

    atlas = open_atlas(neuron.source)
    report = neuron_report(source_of(atlas), neuron.address)
    data = b64encode(draw(report, atlas.thumbnail).encode()).decode("ascii")
    alt = escape(report.title)
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{alt}" style="max-width: 100%">'


def atlas_html(atlas: Atlas) -> str:
    """What an atlas holds, and how many of its neurons are multimodal beside the controls."""
    facts = atlas.summary()
    head = f"{facts['model']}: {facts['units']:,} units, {facts['images']:,} images of {facts['concepts']:,} concepts"
    if facts["not_tested"]:
        return f"<p><strong>{escape(head)}</strong>; no count of multimodal neurons: {escape(facts['not_tested'])}</p>"
    counts = counts_of(facts)
    if counts is None:
        return f"<p><strong>{escape(head)}</strong>, not analysed yet</p>"
    return (
        f"<table><caption>{escape(head)}</caption><thead><tr><th>multimodal neurons</th><th>count</th>"
        f"<th>share</th><th>range</th></tr></thead><tbody>{''.join(map(_row, counts.rows))}</tbody></table>"
    )


def _row(row: Count) -> str:
    if row.count is None:
        return f"<tr><td>{row.name}</td><td>not recorded</td><td></td><td></td></tr>"
    interval = "" if row.low is None else f"{percent(row.low)} to {percent(row.high)}"
    return f"<tr><td>{row.name}</td><td>{row.count:,}</td><td>{percent(row.share)}</td><td>{interval}</td></tr>"
