"""An atlas and its neurons in a notebook: a table of counts with their controls, and the neuron's card."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING

from synesthete.analysis import wilson_interval
from synesthete.visualization.card import draw, title
from synesthete.visualization.facts import gather

if TYPE_CHECKING:
    from synesthete.atlas import Atlas, Neuron

CONTROLS = {
    "multimodal": "the model",
    "multimodal_random_twin": "its random twin",
    "multimodal_shuffled": "shuffled labels",
}


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

    facts = gather(open_atlas(neuron.source), neuron)
    data = b64encode(draw(facts).encode()).decode("ascii")
    told = escape(title(facts), quote=True)
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{told}" style="max-width: 100%">'


def atlas_html(atlas: Atlas) -> str:
    """What an atlas holds, and how many of its neurons are multimodal beside the controls."""
    facts = atlas.summary()
    head = f"{facts['model']}: {facts['units']:,} units, {facts['images']:,} images of {facts['concepts']:,} concepts"
    if facts["not_tested"]:
        return f"<p><strong>{escape(head)}</strong>; no count of multimodal neurons: {escape(facts['not_tested'])}</p>"
    if not atlas.analysed:
        return f"<p><strong>{escape(head)}</strong>, not analysed yet</p>"
    rows = []
    for key, told in CONTROLS.items():
        count = facts[key]
        if count is None:
            rows.append(f"<tr><td>{told}</td><td>not recorded</td><td></td><td></td></tr>")
            continue
        low, high = wilson_interval(count, facts["units"])
        share = count / facts["units"]
        rows.append(
            f"<tr><td>{told}</td><td>{count:,}</td><td>{share:.1%}</td><td>{low:.1%} to {high:.1%}</td></tr>"
        )
    return (
        f"<table><caption>{escape(head)}</caption><thead><tr><th>multimodal neurons</th><th>count</th>"
        f"<th>share</th><th>95 % interval</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
