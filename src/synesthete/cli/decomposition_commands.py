"""Commands that take concepts apart into units: decompose, explain, causal, texts, emotions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from synesthete._core.user_files import read_named
from synesthete.cli.console import JsonFlag, out, print_json, say, share, table
from synesthete.cli.naming_commands import PANEL, AtlasPath

if TYPE_CHECKING:
    from synesthete.analysis.decomposition import Term

LayerOption = Annotated[
    str | None,
    typer.Option(
        metavar="L", help="A layer of the atlas; without it the first.", show_default=False
    ),
]
DrawOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Draw it to a .svg or .png.", show_default=False),
]


def decompose(
    atlas: AtlasPath,
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="A word or a phrase.", show_default=False)
    ],
    layer: LayerOption = None,
    terms: Annotated[int, typer.Option(min=1, help="At most so many neurons.")] = 10,
    positive: Annotated[
        bool, typer.Option("--positive", help="Only neurons that add, none that take away.")
    ] = False,
    out_path: DrawOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write what the model means by a text as a sum of few neurons.

    Fitted on the images of one half of the artists and judged on the other, beside the random twin and
    shuffled images. Loads the model.
    """
    from synesthete.analysis.decomposition import decompose as fit
    from synesthete.atlas import open_atlas

    found = fit(open_atlas(atlas), text, layer=layer, terms=terms, positive=positive)
    told = f"R² {found.r2:.2f} ({found.r2_low:.2f} to {found.r2_high:.2f}) on other artists' images"
    if out_path is not None:
        _draw(f"“{found.text}” as a sum of neurons", told, found.terms, out_path)
    if as_json:
        print_json({**asdict(found), "images": list(found.images)})
        return
    _print_terms(found.terms)
    twin = "not recorded" if found.r2_random_twin is None else f"{found.r2_random_twin:.2f}"
    out().print(
        f"{told}; random twin: {twin}; shuffled: {found.r2_shuffled:.2f}\n",
        style="dim",
        soft_wrap=True,
    )


def explain(
    atlas: AtlasPath,
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="A picture file.", show_default=False)
    ],
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="A label to choose among (repeat for more); without it the atlas's concepts.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Compare with this label, not the runner-up.", show_default=False),
    ] = None,
    layer: LayerOption = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many neurons on each side.")] = 10,
    out_path: DrawOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say which neurons decided an image's label, exactly, and what is left without them.

    For the last block of a ModifiedResNet, from which the path to the embedding is linear. Loads the model.
    """
    from synesthete.analysis.decomposition import explain as ask
    from synesthete.atlas import open_atlas
    from synesthete.probes.decoding import decode

    data = read_named(image)
    found = ask(
        open_atlas(atlas), decode(data), labels=label, against=against, layer=layer, limit=limit
    )
    told = (
        f"{found.label} ({found.cosines[0]:.3f}) rather than {found.other} ({found.cosines[1]:.3f})"
    )
    if out_path is not None:
        _draw(told, f"what each neuron adds to the difference; {image.name}", found.units, out_path)
    if as_json:
        print_json({**asdict(found), "cosines": list(found.cosines)})
        return
    out().print(Text(told, style="bold"), soft_wrap=True)
    _print_terms(found.units)
    difference = found.cosines[0] - found.cosines[1]
    out().print(
        f"difference {difference:+.3f}; without the neurons that speak for it {found.without:+.3f}; "
        f"without as many random ones {found.without_random:+.3f}; positions and biases {found.rest:+.3f}\n",
        style="dim",
        soft_wrap=True,
    )


def emotions(
    atlas: AtlasPath,
    words: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Another list of words, one a line; without it 36 emotions.",
            show_default=False,
        ),
    ] = None,
    factors: Annotated[
        int, typer.Option(min=1, help="How many factors: 2 for valence and arousal.")
    ] = 7,
    layer: LayerOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Take a list of words apart into neurons, and find the few factors behind them.

    Every word becomes a sum of neurons that only add; a non-negative factorisation of all sums shows what
    the words share. Loads the model.
    """
    from synesthete.analysis.decomposition import word_factors
    from synesthete.analysis.decomposition.fit import EMOTIONS
    from synesthete.analysis.vocabulary import load_vocabulary
    from synesthete.atlas import open_atlas

    listed: Sequence[str] = EMOTIONS if words is None else load_vocabulary(str(words))
    found = word_factors(open_atlas(atlas), listed, factors=factors, layer=layer)
    rows = [
        {
            "words": [
                found.words[i] for i in (-column).argsort(kind="stable")[:6] if column[i] > 0
            ],
            "units": [
                f"{found.layer}:{found.units[u]}"
                for u in (-part).argsort(kind="stable")[:4]
                if part[u] > 0
            ],
        }
        for column, part in zip(found.loadings.T, found.parts, strict=True)
    ]
    if as_json:
        r2 = dict(zip(found.words, found.r2.tolist(), strict=True))
        print_json({"layer": found.layer, "explained": found.explained, "r2": r2, "factors": rows})
        return
    made = table("factor", "words", "neurons")
    for i, row in enumerate(rows, start=1):
        made.add_row(str(i), Text(", ".join(row["words"])), Text(", ".join(row["units"])))
    out().print(made)
    out().print(
        f"{len(found.words)} words, {len(found.units)} neurons; the factors keep {found.explained:.0%} of the "
        f"squared weights; R² of the words' sums, median {sorted(found.r2)[len(found.r2) // 2]:.2f}\n",
        style="dim",
        soft_wrap=True,
    )


def causal(
    atlas: AtlasPath,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="layer:unit", show_default=False)
    ],
    text: Annotated[
        str | None,
        typer.Option(
            help="What it is said to stand for; without it its name, or its concept.",
            show_default=False,
        ),
    ] = None,
    strength: Annotated[
        float, typer.Option(help="Raise it by so many times its largest activation.")
    ] = 1.0,
    images: Annotated[int, typer.Option(min=2, help="Images of other concepts.")] = 64,
    controls: Annotated[int, typer.Option(min=1, help="Random neurons to compare with.")] = 20,
    probes: Annotated[
        str | None,
        typer.Option(
            metavar="SET",
            help="Where the atlas's probe set is, when it is not a built-in one.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Raise a neuron, and read which texts the images come nearer to: does it do what its name says?

    Compared with other texts, and with other neurons raised likewise. Loads the model.
    """
    from synesthete.analysis.decomposition import causal_check
    from synesthete.atlas import open_atlas

    found = causal_check(
        open_atlas(atlas), address, text=text, strength=strength, images=images, controls=controls,
        probes=probes,
    )  # fmt: skip
    if as_json:
        print_json(asdict(found))
        return
    rows = table("nearer to", "change", "further from", "change ", right=("change", "change "))
    for near, far in zip(found.most, found.least, strict=True):
        rows.add_row(Text(near.text), f"{near.change:+.4f}", Text(far.text), f"{far.change:+.4f}")
    out().print(rows)
    out().print(
        Text(
            f"{found.address} raised by {found.raised_by:.3g} on {found.images} images of other things: cosine with "
            f"“{found.text}” {found.change:+.4f} ({found.low:+.4f} to {found.high:+.4f}), place {found.rank} of "
            f"{found.texts} texts; {found.controls} random neurons {found.control_change:+.4f}, p {found.p:.3f}\n",
            style="dim",
        ),
        soft_wrap=True,
    )


def texts(
    atlas: AtlasPath,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="layer:unit", show_default=False)
    ],
    vocabulary: Annotated[
        str,
        typer.Option(
            metavar="V", help="concepts, english, wordnet-nouns, or a file with a text a line."
        ),
    ] = "concepts",
    limit: Annotated[int, typer.Option(min=1, help="So many on each side.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List the texts that a neuron drives the embedding towards, and away from.

    Exact for the last block of a ModifiedResNet; for other layers by the covariance with the embeddings. Loads the model.
    """
    from synesthete.analysis.decomposition import wanted_texts
    from synesthete.analysis.vocabulary import load_vocabulary
    from synesthete.atlas import open_atlas

    opened = open_atlas(atlas)
    words = load_vocabulary(vocabulary, opened.concepts)
    found = wanted_texts(opened, address, words, limit=limit)
    if as_json:
        print_json(asdict(found))
        return
    rows = table("towards", "score", "away from", "score ", right=("score", "score "))
    for near, far in zip(found.most, found.least, strict=True):
        rows.add_row(Text(near.text), f"{near.score:+.2f}", Text(far.text), f"{far.score:+.2f}")
    out().print(rows)
    out().print(
        f"{found.route} route; scores in standard deviations over {found.vocabulary:,} texts\n",
        style="dim",
    )


def _draw(title: str, subtitle: str, terms: Sequence[Term], path: Path) -> None:
    from synesthete.report.charts import sum_chart
    from synesthete.report.svg import write_drawing

    rows = [(term.address, term.name or term.concept, term.weight) for term in terms]
    say(f"drawn: {write_drawing(sum_chart(title, subtitle, rows), path)}")


def _print_terms(terms: Sequence[Term]) -> None:
    rows = table("address", "concept", "name", "weight", right=("weight",))
    for term in terms:
        rows.add_row(
            Text(term.address),
            Text(term.concept or "–"),
            Text(term.name or "–"),
            share(term.weight) if abs(term.weight) >= 0.1 else f"{term.weight:+.4f}",
        )
    out().print(rows)


def add_to(app: typer.Typer) -> None:
    """Put these commands into the command line."""
    for command in (decompose, explain, causal, texts, emotions):
        app.command(rich_help_panel=PANEL)(command)
