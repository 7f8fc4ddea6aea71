"""An atlas and its neurons in a notebook: a table of counts with their controls, and the neuron's card or a widget of it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete.errors import SynestheteError
from synesthete.report.card import card_of
from synesthete.report.counts import Count, counts_of
from synesthete.report.source import source_of
from synesthete.report.svg import escape, percent

if TYPE_CHECKING:
    from synesthete.atlas import Atlas, Neuron
    from synesthete.report.widget import NeuronWidget


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

    card, title = card_of(source_of(open_atlas(neuron.source)), neuron.address)
    return f'<img src="{card}" alt="{escape(title)}" style="max-width: 100%">'


def browse(atlas: Atlas | str | Path, address: str | None = None) -> NeuronWidget:
    """A widget that goes through the neurons of an atlas, for a notebook: a search, and the card of the neuron that is chosen.

    Its `address` is the neuron on show, to be read and set.

    Parameters
    ----------
    atlas
        An analysed atlas, or its folder.
    address
        The neuron to begin with, or a concept; the most multimodal one without it.

    Raises
    ------
    SynestheteError
        The package anywidget is missing (extra `[notebook]`); an atlas that cannot be opened or is not analysed; no such neuron.
    """
    if find_spec("anywidget") is None:
        raise SynestheteError(
            "a widget needs the package anywidget", hint="pip install 'synesthete[notebook]'"
        )
    from synesthete.atlas import Atlas, open_atlas
    from synesthete.report.widget import NeuronWidget

    return NeuronWidget(atlas if isinstance(atlas, Atlas) else open_atlas(atlas), address)


def neuron_bundle(neuron: Neuron) -> dict[str, Any] | None:
    """A neuron as a widget that begins with it, in the formats of a notebook; None where there is no kernel, no anywidget, or no atlas of it."""
    if neuron.source is None or find_spec("anywidget") is None:
        return None
    from IPython.core.getipython import get_ipython  # anywidget needs it

    if getattr(get_ipython(), "kernel", None) is None:
        return None
    bundle: dict[str, Any] = browse(neuron.source, neuron.address)._repr_mimebundle_()[0]
    return bundle


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
