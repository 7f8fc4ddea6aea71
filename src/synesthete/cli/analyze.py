"""Commands that say what neurons are about: name, families, words, conditional, decompose, explain, causal, texts, emotions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from synesthete._core.user_files import read_named
from synesthete.atlas import Atlas, open_atlas
from synesthete.cli.command import Address, AtlasArgument, Output, Positive, command
from synesthete.cli.console import Note, count, dim, say, share, table
from synesthete.cli.progress import Reporter
from synesthete.cli.workers import Workers
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete.analysis.decomposition import Term

PANEL = "Say what neurons are about"

app = typer.Typer()


@command(app, panel=PANEL)
def name(
    atlas: AtlasArgument,
    vocabulary: str = "concepts",
    method: str = "ours",
    layer: list[str] | None = None,
    threshold: float | None = None,
    seed: int = 0,
) -> Output:
    """Name the neurons of an atlas; a name is chosen on some artists and tested on the others.

    Neurons whose best name does not hold are unknown. A concept that a neuron does not prefer to its siblings gives way to what
    they all are. The same is counted for the random twin and for shuffled images. It replaces earlier names, and families are
    to be assigned again.

    Parameters
    ----------
    vocabulary : V
        Words to name by: concepts, those of the probe images; english, the 20,000 commonest English words; wordnet-nouns;
        or a text file, a word a line. All but the first load the model.
    method : M
        Who proposes names: ours, or softwpmi, wpmi, rank-reorder or cos-cubed of CLIP-Dissect, which load the model. All
        are tested alike.
    layer : L
        Name the neurons of this layer only (repeat for more); the other layers keep their names.
    threshold
        AUC on held-out images that a name needs beside an average precision of 0.2; without it, what at most 5 % of the random
        twin's neurons reach, at least 0.75.
    seed
        Of the shuffled control.

    Returns
    -------
    counts and settings, by layer under `layers`.

    See Also
    --------
    naming.md

    Examples
    --------
    synesthete name demo.atlas
    synesthete name demo.atlas --vocabulary my-words.txt --json
    synesthete name demo.atlas --method softwpmi --layer visual.layer4.1
    """
    from synesthete.analysis.naming import name_neurons

    with Reporter("naming", unit="steps") as reporter:
        notes = name_neurons(
            atlas.path,
            vocabulary=vocabulary,
            method=method,
            layers=layer,
            threshold=threshold,
            seed=seed,
            progress=reporter,
        )
    return Output(
        notes, lambda: [*_names_view(notes), Note(f"next: synesthete neurons {atlas.path}")]
    )


@command(app, panel=PANEL)
def families(
    atlas: AtlasArgument,
    families: Path | None = None,
    again: bool = False,
    seed: int = 0,
    out: Path | None = None,
) -> Output:
    """Give the neurons families: region, person, emotion and the others of the paper, or your own.

    From a neuron's tested names (`synesthete name`), or from whole families of images; beside the random twin and shuffled
    images. Shows them when they were assigned before.

    Parameters
    ----------
    families : FILE
        A JSON file of families; without it those of the paper.
    again
        Assign them again, though the atlas has families.
    seed
        Of the shuffled control.
    out : FILE
        Draw the counts to a .svg or .png.

    Returns
    -------
    counts (by name, by images, random twin, shuffled) and settings.

    See Also
    --------
    families.md

    Examples
    --------
    synesthete families demo.atlas
    synesthete families demo.atlas --again --out families.svg --json
    """
    from synesthete.analysis.families import assign_families

    notes = atlas.manifest.get("families")
    if notes is None or again or families is not None:
        with Reporter("families", unit="steps") as reporter:
            notes = assign_families(atlas.path, families=families, seed=seed, progress=reporter)
    if out is not None:
        _draw_families(notes, out)
    return Output(notes, lambda: _families_view(open_atlas(atlas.path), notes))


@command(app, panel=PANEL)
def words(
    atlas: AtlasArgument,
    address: Annotated[str | None, typer.Argument(metavar="[NEURON]")] = None,
    vocabulary: str | None = None,
    font: str | None = None,
    renderings: Annotated[int | None, typer.Option(min=1, max=6)] = None,
    like: str | None = None,
    limit: Positive = 20,
    *,
    workers: Workers,
) -> Output:
    """List the written words that excite a neuron most, or those nearest to a sum of written words.

    Every word of a vocabulary is drawn, at two sizes in the middle of an image unless --renderings says more, and shown to the
    model once; after that no model is loaded.

    Parameters
    ----------
    address
        The neuron, such as visual.layer4.1:12.
    vocabulary : V
        Draw these words first: concepts, english, wordnet-nouns, or a text file, a word a line. Without it the words drawn
        before, or concepts the first time.
    font
        Font family of the package to draw in.
    renderings : N
        Draw them again, each so many times: large, small in the middle, then small in the corners. 6 are all, and take
        three times as long as the 2 without it.
    like : SUM
        Instead of a neuron: words whose images mean what a sum means, "king - man + woman".
    limit
        How many words.

    Returns
    -------
    a list of `word` and `activation` (or `cosine`).

    See Also
    --------
    words.md

    Examples
    --------
    synesthete words demo.atlas visual.layer4.1:12 --limit 5
    synesthete words demo.atlas visual.layer4.1:12 --vocabulary my-words.txt --json
    synesthete words demo.atlas visual.layer4.1:12 --vocabulary my-words.txt --executor processes --workers 2
    """
    from synesthete.analysis.rendered_words import (
        QUICK,
        RENDERINGS,
        draw_words,
        nearest_words,
        top_words,
    )

    if (address is None) == (like is None):
        raise SynestheteError("give the address of a neuron, or --like with a sum of words")
    if address is not None:
        address = atlas.neuron(address).address
    wanted, executor = (vocabulary, font, renderings) != (None, None, None), workers.opened()
    if wanted or "words" not in atlas.manifest:
        with Reporter("drawing", unit="words") as reporter:
            notes = draw_words(
                atlas.path,
                vocabulary=vocabulary or "concepts",
                font=font,
                rendered=renderings or QUICK,
                executor=executor,
                progress=reporter,
            )
        if renderings is None:
            say(
                f"each word was drawn in {QUICK} of {RENDERINGS} ways, large and small in the middle; "
                f"--renderings {RENDERINGS} adds the corners"
            )
        if notes["skipped"]:
            word, why = next(iter(notes["skipped"].items()))
            say(f"{len(notes['skipped'])} words were not drawn, such as {word}: {why}")
        atlas = open_atlas(atlas.path)
    if address is not None:
        hits, value = top_words(atlas, address, limit=limit), "activation"
    else:
        hits, value = nearest_words(atlas, str(like), limit=limit), "cosine"
    rows = ((hit["word"], share(hit[value])) for hit in hits)
    return Output(hits, [table("word", value, right=(value,), rows=rows)])


@command(app, panel=PANEL)
def conditional(
    atlas: AtlasArgument,
    address: Address,
    by: str = "concept",
    category: list[str] | None = None,
    bins: Annotated[int, typer.Option(min=2, max=200)] = 12,
    out: Path | None = None,
) -> Output:
    """Print how probable a category is, given how strongly a neuron responds, with Wilson intervals.

    The bins have equal widths over the whole range of activations, in standard deviations from zero.

    Parameters
    ----------
    by
        Categories: concept, family or modality.
    category
        A category to show (repeat for more); without it what the neuron is called, its concept, and the commonest at the top.
    bins
        How many bins of activation.
    out : FILE
        Draw it to a .svg or .png.

    Returns
    -------
    a row per bin and category: `from`, `to`, `images`, `count`, `p`, `low`, `high`.

    See Also
    --------
    words.md#what-an-activation-means

    Examples
    --------
    synesthete conditional demo.atlas visual.layer4.1:12 --by modality --out neuron12.svg
    synesthete conditional demo.atlas visual.layer4.1:12 --category apple --bins 6 --json
    """
    from synesthete.analysis.conditional import conditional as measure
    from synesthete.report.charts import conditional_chart
    from synesthete.report.svg import write_drawing

    found = measure(atlas, address, by=by, categories=category, bins=bins)
    if out is not None:
        say(f"drawn: {write_drawing(conditional_chart(found), out)}")
    names = [curve.category for curve in found.curves]
    rows = (
        (
            f"{found.edges[i]:+.1f} to {found.edges[i + 1]:+.1f}",
            count(images),
            *(
                f"{c.share[i]:.2f} ({c.low[i]:.2f}–{c.high[i]:.2f})" if images else "–"
                for c in found.curves
            ),
        )
        for i, images in enumerate(found.images)
    )
    right = ("images", *names)
    return Output(found.as_dict, [table("activation (SD)", *right, right=right, rows=rows)])


@command(app, panel=PANEL)
def decompose(
    atlas: AtlasArgument,
    text: str,
    layer: str | None = None,
    terms: Positive = 10,
    positive: bool = False,
    out: Path | None = None,
) -> Output:
    """Write what the model means by a text as a sum of few neurons.

    Fitted on the images of one half of the artists and judged on the other, beside the random twin and shuffled images.
    Loads the model.

    Parameters
    ----------
    text : TEXT
        A word or a phrase.
    layer : L
        A layer of the atlas; without it the first.
    terms
        At most so many neurons.
    positive
        Only neurons that add, none that take away.
    out : FILE
        Draw it to a .svg or .png.

    Returns
    -------
    `r2` with its interval and controls, and `terms`: a list of `address`, `weight`, `concept`, `name`.

    See Also
    --------
    decomposition.md

    Examples
    --------
    synesthete decompose demo.atlas apple
    synesthete decompose demo.atlas "hot dog" --terms 5 --positive --out hotdog.svg --json
    """
    from synesthete.analysis.decomposition import decompose as fit

    found = fit(atlas, text, layer=layer, terms=terms, positive=positive)
    fitted = (
        f"R² {found.r2:.2f} ({found.r2_low:.2f} to {found.r2_high:.2f}) on other artists' images"
    )
    if out is not None:
        _draw_terms(f"“{found.text}” as a sum of neurons", fitted, found.terms, out)
    twin = "not recorded" if found.r2_random_twin is None else f"{found.r2_random_twin:.2f}"
    controls = f"{fitted}; random twin: {twin}; shuffled: {found.r2_shuffled:.2f}\n"
    return Output(found, [_terms_table(found.terms), dim(controls)])


@command(app, panel=PANEL)
def explain(
    atlas: AtlasArgument,
    image: Path,
    label: list[str] | None = None,
    against: str | None = None,
    layer: str | None = None,
    limit: Positive = 10,
    out: Path | None = None,
) -> Output:
    """Show which neurons decided an image's label, exactly, and what is left without them.

    For the last block of a ModifiedResNet, from which the path to the embedding is linear. Loads the model.

    Parameters
    ----------
    image : IMAGE
        An image file.
    label
        A label to choose among (repeat for more); without it the atlas's concepts.
    against
        Compare with this label, not the runner-up.
    layer : L
        A layer of the atlas; without it the first.
    limit
        At most so many neurons on each side.
    out : FILE
        Draw it to a .svg or .png.

    Returns
    -------
    `label`, `other`, `cosines`, `units`, `rest`, `gap`, `without`, `without_random`.

    See Also
    --------
    decomposition.md

    Examples
    --------
    synesthete explain demo.atlas image.png --limit 3
    synesthete explain demo.atlas image.png --label apple --label car --out why.png --json
    """
    from synesthete.analysis.decomposition import explain as attribute_label
    from synesthete.probes.decoding import decode

    pixels = decode(read_named(image))
    found = attribute_label(atlas, pixels, labels=label, against=against, layer=layer, limit=limit)
    first, second = found.cosines
    title = f"{found.label} ({first:.3f}) rather than {found.other} ({second:.3f})"
    if out is not None:
        what = f"what each neuron adds to the difference; {image.name}"
        _draw_terms(title, what, found.units, out)
    rest = (
        f"difference {first - second:+.3f}; without the neurons that speak for it {found.without:+.3f}; without as many random "
        f"ones {found.without_random:+.3f}; positions and biases {found.rest:+.3f}\n"
    )
    return Output(found, [Text(title, style="bold"), _terms_table(found.units), dim(rest)])


@command(app, panel=PANEL)
def causal(
    atlas: AtlasArgument,
    address: Address,
    text: str | None = None,
    strength: float = 1.0,
    images: Annotated[int, typer.Option(min=2)] = 64,
    controls: Positive = 20,
    probes: str | None = None,
) -> Output:
    """Raise a neuron, and read which texts the images come nearer to: does it do what its name says?

    Compared with other texts, and with other neurons raised the same way. Loads the model and the probe set.

    Parameters
    ----------
    text
        What it stands for; without it its name, or its concept.
    strength
        Raise it by so many times its largest activation; negative to lower it.
    images
        Images of other concepts.
    controls
        Random neurons to compare with.
    probes : SET
        Where the atlas's probe set is, when it is not a built-in one.

    Returns
    -------
    `change` with `low` and `high`, `rank` among `texts`, `p` among `controls`, `most`, `least`.

    See Also
    --------
    decomposition.md

    Examples
    --------
    synesthete causal demo.atlas visual.layer4.1:0 --text apple --images 16 --controls 5
    synesthete causal demo.atlas visual.layer4.1:0 --text apple --strength 0.5 --images 8 --controls 2 --json
    """
    from synesthete.analysis.decomposition import causal_check

    found = causal_check(
        atlas,
        address,
        text=text,
        strength=strength,
        images=images,
        controls=controls,
        probes=probes,
    )
    rows = (
        (near.text, f"{near.change:+.4f}", far.text, f"{far.change:+.4f}")
        for near, far in zip(found.most, found.least, strict=True)
    )
    verdict = (
        f"{found.address} raised by {found.raised_by:.3g} on {found.images} images of other things: cosine with "
        f"“{found.text}” {found.change:+.4f} ({found.low:+.4f} to {found.high:+.4f}), place {found.rank} of "
        f"{found.texts} texts; {found.controls} random neurons {found.control_change:+.4f}, p {found.p:.3f}\n"
    )
    right = ("change", "change ")
    changes = table("nearer to", "change", "further from", "change ", right=right, rows=rows)
    return Output(found, [changes, dim(verdict)])


@command(app, panel=PANEL)
def texts(
    atlas: AtlasArgument, address: Address, vocabulary: str = "concepts", limit: Positive = 20
) -> Output:
    """List the texts that a neuron drives the embedding towards, and away from.

    Exact for the last block of a ModifiedResNet; for other layers by the covariance with the embeddings. Loads the model.

    Parameters
    ----------
    vocabulary : V
        concepts, english, wordnet-nouns, or a file with a text a line.
    limit
        So many on each side.

    Returns
    -------
    `route` (`exact` or `fitted`), `most` and `least`: lists of `text`, `score`.

    See Also
    --------
    decomposition.md

    Examples
    --------
    synesthete texts demo.atlas visual.layer4.1:0 --limit 5
    synesthete texts demo.atlas visual.layer4.1:0 --vocabulary my-words.txt --json
    """
    from synesthete.analysis.decomposition import wanted_texts
    from synesthete.analysis.vocabulary import load_vocabulary

    known = load_vocabulary(vocabulary, atlas.concepts)
    found = wanted_texts(atlas, address, known, limit=limit)
    rows = (
        (near.text, f"{near.score:+.2f}", far.text, f"{far.score:+.2f}")
        for near, far in zip(found.most, found.least, strict=True)
    )
    right = ("score", "score ")
    scores = table("towards", "score", "away from", "score ", right=right, rows=rows)
    unit = (
        f"{found.route} route; scores in standard deviations over {count(found.vocabulary)} texts\n"
    )
    return Output(found, [scores, dim(unit)])


@command(app, panel=PANEL)
def emotions(
    atlas: AtlasArgument,
    words: Path | None = None,
    factors: Positive = 7,
    layer: str | None = None,
) -> Output:
    """Decompose 36 emotions, or any list of words, into neurons, and find the few factors behind them.

    Every word becomes a sum of neurons that only add; a non-negative factorisation of all sums shows what the words share.
    Loads the model.

    Parameters
    ----------
    words : FILE
        Another list of words, one a line; without it 36 emotions.
    factors
        How many factors: 2 for valence and arousal.
    layer : L
        A layer of the atlas; without it the first.

    Returns
    -------
    `factors` (`words` and `units` of each), `explained`, and `r2` of every word.

    See Also
    --------
    decomposition.md

    Examples
    --------
    synesthete emotions demo.atlas --factors 2
    synesthete emotions demo.atlas --words my-words.txt --factors 3 --json
    """
    from synesthete.analysis.decomposition import word_factors
    from synesthete.analysis.decomposition.fit import EMOTIONS
    from synesthete.analysis.vocabulary import load_vocabulary

    listed: Sequence[str] = EMOTIONS if words is None else load_vocabulary(str(words))
    found = word_factors(atlas, listed, factors=factors, layer=layer)

    def largest(values: Any, names: Sequence[str], limit: int) -> list[str]:
        return [names[i] for i in (-values).argsort(kind="stable")[:limit] if values[i] > 0]

    addresses = [f"{found.layer}:{unit}" for unit in found.units]
    rows = [
        {"words": largest(column, found.words, 6), "units": largest(part, addresses, 4)}
        for column, part in zip(found.loadings.T, found.parts, strict=True)
    ]
    data = {
        "layer": found.layer,
        "explained": found.explained,
        "r2": dict(zip(found.words, found.r2.tolist(), strict=True)),
        "factors": rows,
    }
    cells = ((i, ", ".join(r["words"]), ", ".join(r["units"])) for i, r in enumerate(rows, start=1))
    fit = (
        f"{len(found.words)} words, {len(found.units)} neurons; the factors keep {found.explained:.0%} of the squared "
        f"weights; R² of the words' sums, median {sorted(found.r2)[len(found.r2) // 2]:.2f}\n"
    )
    return Output(data, [table("factor", "words", "neurons", rows=cells), dim(fit)])


def _names_view(notes: Mapping[str, Any]) -> Iterator[RenderableType]:
    """How many neurons of each layer got a name, between the controls."""
    columns = (
        "layer",
        "named",
        "random twin",
        "shuffled",
        "AUC needed",
        "median AUC",
        "of unknown",
    )
    layers = notes["layers"]
    yield table(
        *columns,
        rows=(
            (
                layer,
                f"{count(counts['named'])} of {count(counts['units'])}",
                "not recorded" if (twin := counts["named_random_twin"]) is None else count(twin),
                count(counts["named_shuffled"]),
                f"{counts['threshold']:.2f}",
                *(
                    "–" if counts[key] is None else share(counts[key])
                    for key in ("median_auc_named", "median_auc_unknown")
                ),
            )
            for layer, counts in layers.items()
        ),
    )
    used = next(iter(layers.values()))  # settings are the same for all
    unknown = used["words_left_out"]
    left_out = f", {count(unknown)} left out that the model cannot tell apart" if unknown else ""
    yield dim(
        f"{count(used['words'])} words ({used['vocabulary']}{left_out}); chosen on {count(used['images_chosen_on'])} "
        f"images, tested on {count(used['images_tested_on'])} by other artists\n"
    )


def _families_view(atlas: Atlas, notes: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The families of each layer: neurons by name and by images, the controls, an example."""
    right = ("neurons", "by name", "by images", "random twin", "shuffled")
    for layer, counts in notes["layers"].items():
        examples: dict[str, str] = {}
        for neuron in atlas.neurons(layer):
            examples.setdefault(neuron.family, f"{neuron.address} {neuron.name or ''}".strip())
        yield table(
            "family",
            *right,
            "for example",
            right=right,
            rows=(
                (
                    family,
                    count(some["by_name"] + some["by_images"]),
                    count(some["by_name"]),
                    count(some["by_images"]),
                    "–" if some["random_twin"] is None else count(some["random_twin"]),
                    count(some["shuffled"]),
                    examples.get(family, ""),
                )
                for family, some in counts["families"].items()
            ),
        )
        with_family, units = count(counts["with_family"]), count(counts["units"])
        yield dim(f"{layer}: {with_family} of {units} neurons have a family\n")


def _draw_families(notes: Mapping[str, Any], path: Path) -> None:
    """Draw how many neurons each family has, over all layers."""
    from synesthete.report.charts import sum_chart
    from synesthete.report.svg import write_drawing

    total: dict[str, int] = {}
    for counts in notes["layers"].values():
        for family, some in counts["families"].items():
            total[family] = total.get(family, 0) + some["by_name"] + some["by_images"]
    ranked = sorted(total.items(), key=lambda item: -item[1])
    units = sum(counts["units"] for counts in notes["layers"].values())
    drawing = sum_chart(
        "Families of neurons",
        f"of {count(units)} neurons; by tested names, or by whole families of images",
        [("", family, float(number)) for family, number in ranked],
        written=lambda number: count(int(number)),
    )
    say(f"drawn: {write_drawing(drawing, path)}")


def _draw_terms(title: str, subtitle: str, terms: Sequence[Term], path: Path) -> None:
    from synesthete.report.charts import sum_chart
    from synesthete.report.svg import write_drawing

    rows = [(term.address, term.heading, term.weight) for term in terms]
    say(f"drawn: {write_drawing(sum_chart(title, subtitle, rows), path)}")


def _terms_table(terms: Sequence[Term]) -> Table:
    return table(
        "address",
        "concept",
        "name",
        "weight",
        right=("weight",),
        rows=(
            (
                term.address,
                term.concept or "–",
                term.name or "–",
                share(term.weight) if abs(term.weight) >= 0.1 else f"{term.weight:+.4f}",
            )
            for term in terms
        ),
    )
