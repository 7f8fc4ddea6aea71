"""Commands that read an atlas: summary, stability, neurons, show, concept, verify. None of them loads a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from synesthete._core.user_files import read_named
from synesthete.atlas import Atlas
from synesthete.atlas.summary import STABILITY, stability_of
from synesthete.cli.command import Address, AtlasArgument, Output, command
from synesthete.cli.console import Note, and_more, count, dim, percent, table
from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    from synesthete._core.arrays import Bool
    from synesthete.analysis.joint_scores import JointScores
    from synesthete.atlas import Neuron
    from synesthete.report.columns import Columns
    from synesthete.report.concept import ConceptModality, ConceptReport, ConceptUnit
    from synesthete.report.counts import TextRow
    from synesthete.report.images import Shown
    from synesthete.report.meaning import Matches
    from synesthete.report.neuron import NeuronReport, NeuronRow
    from synesthete.reviews import State

PANEL = "Look at an atlas"
SHOWN = 25

app = typer.Typer()


@command(app, panel=PANEL)
def summary(atlas: AtlasArgument) -> Output:
    """Show what an atlas holds: model, images, and how many neurons are multimodal.

    The count of multimodal neurons always stands next to the same count for networks that know nothing (random weights, trained weights
    permuted), for random mixtures of the neurons, and for shuffled concept labels.

    Returns
    -------
    `units`, `live_units`; `selective`, `multimodal`, `concept_cells`, each also as `..._random_twin`, `..._permuted`, `..._rotation`,
    `..._shuffled` (the largest over initialisations or seeds; the means are `mean_...`); how many concepts those have between them
    (`multimodal_concepts...`), how many distinct findings they are (`multimodal_distinct...`, `selective_distinct...`) and in how many
    directions the units vary (`participation_ratio...`); `..._without_statistics` (statistics of the images regressed out;
    `..._kept_without_statistics`: of those that passed before) and `..._equal_length` (among written words of equal length), both also
    for the untrained networks; `curve`, `rotation_blocks`, `multimodal_never_trained`, `images`, `quarantined`, `concepts`, `modalities`, `layers` (where some read texts, layer →
    its counts, with the controls of text: `..._word_order`, `..._bag_of_words`, `..._matched_texts`, `passing` by modality, `reading` of
    descriptions and anecdotes), `model`,
    `fingerprint`, `threshold`, `q`, `not_tested`, `stability`, and the range of each count (`multimodal_range`,
    `multimodal_range_random_twin`, ...): over random splits of the artists, of mixtures and shuffled labels over their runs. Counts are null before an analysis, and where the images do
    not allow to test multimodality: `not_tested` then says why.

    Examples
    --------
    synesthete summary demo.atlas
    synesthete summary demo.atlas --json
    """
    return Output(atlas.summary, lambda: summary_view(atlas))


@command(app, panel=PANEL)
def stability(
    atlas: AtlasArgument,
    splits: Annotated[int | None, typer.Option(min=0)] = None,
    resamples: Annotated[int | None, typer.Option(min=0)] = None,
    seed: int | None = None,
) -> Output:
    """Show how far the counts and the concepts of neurons move when other artists select and score them.

    The analysis is repeated with the halves of the artists exchanged, on random splits, and on resampled artists. Without
    options it shows what `synesthete analyze` measured; with one it measures again, and leaves the atlas as it is.

    Parameters
    ----------
    splits
        How many random splits of the artists; 10 in the analysis.
    resamples
        How many resamples: the artists of a bootstrap sample of each half, every one once; 10 in the analysis.
    seed
        Of both; the analysis's own where it is not given.

    Returns
    -------
    for `exchanged`, `splits` and `resamples` the number of `runs`, and `mean`, `low` and `high` over them of: `eligible`
    concepts; `selective`, `multimodal`, `concept_cells`; the neurons that have a verdict again with the same concept
    (`kept_multimodal`, ...); the multimodal ones given the same concept (`same_concept`), and of all live ones
    (`same_concept_live`).

    See Also
    --------
    selectivity.md#stability

    Examples
    --------
    synesthete stability demo.atlas
    synesthete stability demo.atlas --splits 2 --resamples 0 --json
    """
    facts = atlas.summary()
    found = facts["stability"]
    if found is None or (splits, resamples, seed) != (None, None, None):
        from synesthete.analysis.stability import RESAMPLES, SPLITS, measure_stability

        measured = measure_stability(
            atlas,
            splits=SPLITS if splits is None else splits,
            resamples=RESAMPLES if resamples is None else resamples,
            seed=seed,
        )
        found = stability_of([{STABILITY: layer} for layer in measured.values()])
    from synesthete.report.counts import MOVED

    shown = facts | {"stability": found}
    return Output(found, lambda: [*stability_view(shown), dim(f"{MOVED}\n")])


@command(app, panel=PANEL)
def neurons(
    atlas: AtlasArgument,
    multimodal: bool = False,
    concept: str | None = None,
    layer: str | None = None,
    limit: Annotated[int | None, typer.Option(min=1)] = None,
    like: str | None = None,
    like_image: Path | None = None,
) -> Output:
    """List neurons, the most multimodal first, or those nearest in meaning to a text or an image. A bullet marks those that pass the test.

    A neuron's multimodality is its AUC in its weakest modality, for the concept that was chosen on one half of the
    artists, measured on the other half. By meaning they are ranked in the model's embedding space, for which it is loaded.

    Parameters
    ----------
    multimodal
        Only neurons that pass the test.
    concept
        Only neurons of this concept, such as apple.
    layer
        Only neurons of this layer, such as visual.layer4.1.
    limit
        At most this many; without it 25 in the table, and all with --json.
    like : TEXT
        Those nearest to this text in meaning first, such as "red fruit".
    like_image : FILE
        Those nearest to this image first.

    Returns
    -------
    a list of objects with `address`, `heading`, `also`, `concept`, `name`, `confidence`, `multimodality`, `q`, `auc` (modality →
    number), `multimodal`, `family`, `n_concepts`, `sparseness`, `dead`, `mean`, `std`, `maximum`, `review`; of a layer that reads images and
    texts also `joint`: the Modality Dominance Score `dominance` (1 images alone, 0 texts alone; `dominant` in words), and the Bridge Score
    `bridge` with the unit that it is largest for (`partner`), over so many `pairs`; by meaning also `like`: the `score`, and what it is the mean of, the cosines of `images` and `name`.

    See Also
    --------
    microscope.md#search-by-meaning

    Examples
    --------
    synesthete neurons demo.atlas --multimodal --limit 10
    synesthete neurons demo.atlas --concept apple --json
    synesthete neurons demo.atlas --like "red fruit" --limit 5
    """
    found = atlas.neurons(layer, multimodal=True if multimodal else None, concept=concept)
    if like is not None or like_image is not None:
        return _like(atlas, found, like, like_image, limit)
    return Output(
        lambda: neuron_rows(atlas, found[:limit]),
        lambda: neurons_view(atlas, found, limit or SHOWN),
    )


def _like(
    atlas: Atlas,
    found: Sequence[Neuron],
    text: str | None,
    image: Path | None,
    limit: int | None,
) -> Output:
    """Some neurons by their likeness to a text or an image, the nearest first."""
    from synesthete.probes.decoding import decode
    from synesthete.report.meaning import like_image, like_text
    from synesthete.report.source import source_of
    from synesthete.report.svg import number

    if (text is None) == (image is None):
        raise SynestheteError("give --like or --like-image, not both")
    kept: dict[str, list[int]] = {}
    for one in found:
        kept.setdefault(one.layer, []).append(one.unit)

    def chosen(columns: Columns) -> Bool:
        return np.isin(np.arange(columns.units), kept.get(columns.layer, []))

    source, by_address = source_of(atlas), {one.address: one for one in found}

    def near(most: int) -> tuple[Matches, list[Neuron]]:
        if image is None:
            matches = like_text(source, text or "", limit=most, chosen=chosen)
        else:
            pixels = decode(read_named(image))
            matches = like_image(source, pixels, limit=most, chosen=chosen)
        return matches, [by_address[one.neuron.address] for one in matches.matches]

    def data() -> list[dict[str, Any]]:
        matches, nearest = near(limit or len(found))
        return [
            row | {"like": {"score": one.score, "images": one.images, "name": one.name}}
            for row, one in zip(neuron_rows(atlas, nearest), matches.matches, strict=True)
        ]

    def view() -> Iterator[RenderableType]:
        matches, nearest = near(limit or SHOWN)
        yield _neuron_table(atlas, nearest) if nearest else "no such neuron in this atlas"
        yield dim(
            f"nearest first, cosine {', '.join(number(one.score) for one in matches.matches[:3])}, …; of {count(matches.units)} neurons "
            f"{count(matches.beyond)} have images nearer than the nearest of as many random sets (cosine {number(matches.control)})"
        )

    return Output(data, view)


@command(app, panel=PANEL)
def show(atlas: AtlasArgument, address: Address, out: Path = Path(), png: bool = False) -> Output:
    """Write the card of one neuron as a self-contained HTML page, and on request as an image.

    The card shows how well the neuron distinguishes its concept from the rest in each modality, the images that excite it
    most and least with the region that it responds to, and the controls.

    Parameters
    ----------
    out : DIR
        The folder for the card.
    png
        Write a PNG image of it too, which takes as long as everything else.

    Returns
    -------
    the neuron, the name that Goh et al. 2021 published for it (`published`, for the weights that they read), and the paths of the files:
    `html`, `png` (null without --png).

    Examples
    --------
    synesthete show demo.atlas visual.layer4.1:12 --out cards
    synesthete show demo.atlas visual.layer4.1:12 --png
    """
    from synesthete.report import neuron_report, source_of
    from synesthete.report.card import write_report

    neuron = atlas.neuron(address)
    report = neuron_report(source_of(atlas), neuron.address, towers=False)
    card = write_report(report, atlas.thumbnail, out, png=png)

    def view() -> Iterator[RenderableType]:
        yield from report_view(atlas, report)
        yield f"  {card.html}"
        yield f"  {card.png}" if card.png else Note("--png writes it as an image, too")

    return Output(
        lambda: (
            neuron_rows(atlas, [neuron])[0]
            | {"published": report.published, "html": card.html, "png": card.png}
        ),
        view,
    )


@command(app, panel=PANEL)
def concept(atlas: AtlasArgument, name: str) -> Output:
    """Show one concept in every modality, and the units of each layer that answer to it there.

    A unit answers when this is the concept that was chosen for it on one half of the artists, and its AUC and average
    precision in that modality reach their thresholds on the other half.

    Parameters
    ----------
    name : CONCEPT
        The concept, such as apple.

    Returns
    -------
    `concept`, `family`, `modalities` (a list with `modality`, `texts`, `count`, `tested`, `exemplars`, `answering` (layer →
    units) and `units`, each of these with `address`, `tower`, `auc`, `ap`, `passes`, `verdict`), `layers` (each with `multimodal`
    and the same count in its controls), `cell` (the unit that passes in most modalities), `multimodal`, `known_by`, `neurons`,
    `others`, `rule`: what the page of the concept has as JSON.

    See Also
    --------
    microscope.md

    Examples
    --------
    synesthete concept demo.atlas apple
    """
    from synesthete.report import concept_report, source_of
    from synesthete.report.concept import concept_facts

    report = concept_report(source_of(atlas), name)
    return Output(lambda: concept_facts(report), lambda: concept_view(report))


@command(app, panel=PANEL)
def migrate(path: Path) -> Output:
    """Bring an atlas, the queue of a catalogue, or a file of edits, of an earlier format to this program's, in place.

    Recorded arrays, the fingerprint, reviews and feature visualizations are kept; an atlas of format 1 is analysed again afterwards
    (`synesthete analyze`). A queue's cases, decisions, thresholds and hash chain stay as they are. Interrupted, run the same command again.

    Parameters
    ----------
    path : PATH
        Folder of the atlas or of the catalogue, or the file of edits.

    Returns
    -------
    the format's version `before` and `after`, and for an atlas or a queue how many `reviews` it holds.

    See Also
    --------
    recording.md

    Examples
    --------
    synesthete migrate demo.atlas
    """
    from synesthete.atlas import migrate_atlas
    from synesthete.editing import migrate_edits
    from synesthete.reviews import log_of
    from synesthete.reviews.acts import CASES

    log = log_of(path)
    migrate_other = migrate_edits if path.is_file() else migrate_atlas
    before, after = log.migrate() if log.subjects is CASES else migrate_other(path)
    found: dict[str, Any] = {"before": before, "after": after}
    if path.is_dir():
        found["reviews"] = len(log.read())
    done = f"format {before} to {after}" if before != after else f"already of format {after}"
    kept = f", {count(found['reviews'])} reviews kept" if found.get("reviews") else ""
    return Output(found, [f"{path}: {done}{kept}"])


@command(app, panel=PANEL)
def verify(atlas: AtlasArgument) -> Output:
    """Check every file of an atlas against the hash that was recorded with it.

    Exit code 0 when all files are as recorded, 1 when something differs.

    Returns
    -------
    `intact` (true or false) and `differences`, one line per file.

    Examples
    --------
    synesthete verify demo.atlas
    """
    differences = atlas.verify()
    return Output(
        {"intact": not differences, "differences": differences},
        differences or [Note(f"{atlas.path}: every file is as it was recorded")],
        exit_code=1 if differences else 0,
    )


def summary_view(atlas: Atlas) -> Iterator[RenderableType]:
    """What an atlas holds, and the count of multimodal neurons beside its controls."""
    facts = atlas.summary()
    quarantined = facts.get("quarantined", 0)
    unread = f" ({count(quarantined)} set aside, unreadable)" if quarantined else ""
    dead = facts["units"] - facts.get("live_units", facts["units"])
    modalities = facts["modalities"]
    if isinstance(modalities, Mapping):
        modalities = [f"{name} {count(number)}" for name, number in modalities.items()]
    yield Text(str(atlas.path), style="bold")
    yield table(
        "",
        "",
        rows=[
            ("model", facts["model"]),
            ("layers", ", ".join(facts["layers"])),
            ("images", f"{count(facts['images'])}{unread}"),
            *([("texts", count(facts["texts"]))] if "texts" in facts else []),
            ("", ", ".join(modalities)),
            ("concepts", count(facts["concepts"])),
            ("units", f"{count(facts['units'])} ({count(dead)} dead)"),
        ],
    )
    yield ""
    yield from counts_view(atlas)
    if set(facts["layers"]) > set(atlas.main_layers):
        yield from _other_layers(atlas, facts["layers"])
    for name in atlas.layers if atlas.analysed else ():
        yield from texts_view(atlas, name)


def _other_layers(atlas: Atlas, layers: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The counts of layers that are not among the main ones, with their controls."""
    others = {name: facts for name, facts in layers.items() if name not in atlas.main_layers}
    right = ("units", "multimodal", "twin", "mixtures", "shuffled")
    kinds = ("", "_random_twin", "_rotation", "_shuffled")
    yield ""
    yield table(
        "other layers",
        *right,
        right=right,
        rows=(
            (name, count(facts["units"]), *(_number(facts[f"multimodal{kind}"]) for kind in kinds))
            for name, facts in others.items()
        ),
    )
    for name, facts in others.items():
        if facts["not_tested"]:
            yield dim(f"{name}: {facts['not_tested']}")


def texts_view(atlas: Atlas, layer: str) -> Iterator[RenderableType]:
    """How a layer answers to descriptions and anecdotes, beside the controls of text; nothing for one that reads none."""
    from synesthete.report.counts import counts_of_layer

    counts = counts_of_layer(atlas, layer)
    if counts is None or not counts.texts:
        return
    names = list(counts.texts[0].modalities)
    right = ("multi-\nmodal", *(f"{name}\n{what}" for name in names for what in ("pass", "first")))

    def cells(row: TextRow) -> Iterator[str]:
        yield _number(row.multimodal)
        for name in names:
            one = row.modalities[name]
            yield _number(one.passing)
            yield "" if one.top_1 is None else f"{percent(one.top_1)} ({one.median_rank:g})"

    yield ""
    yield f"what {layer} makes of texts that do not name their concept"
    yield table("", *right, right=right, rows=((row.name, *cells(row)) for row in counts.texts))
    yield from counts.beside if layer not in atlas.main_layers else ()
    yield dim(counts.texts_note)


def _number(value: int | None) -> str:
    return "–" if value is None else count(value)


def counts_view(atlas: Atlas) -> Iterator[RenderableType]:
    """The counts that belong together: the model and its controls."""
    from synesthete.report.counts import RANGES, counts_of, rule_of

    facts = atlas.summary()
    counts, rule = counts_of(facts), rule_of(atlas)
    if counts is None or rule is None:
        reason = "not analysed yet: run `synesthete analyze` on it"
        yield f"{untested_line(facts) if facts.get('not_tested') else reason}\n"
        return
    right = ("count", "share", "range", "concepts")
    rows = table("multimodal neurons", *right, right=right)
    for row in counts.rows:
        if row.count is None or row.share is None:
            rows.add_row(row.name, "–", "", "not recorded", "")
            continue
        rows.add_row(
            row.name,
            f"{count(row.count)} of {count(counts.units)}",
            percent(row.share),
            "–"
            if row.low is None or row.high is None
            else f"{percent(row.low)} to {percent(row.high)}",
            "–" if row.concepts is None else count(row.concepts),
        )
    yield rows
    yield f"selective {count(counts.selective)}, of those multimodal {count(counts.model.count or 0)}, of those concept cells {count(counts.concept_cells)}"
    if facts["multimodal_never_trained"] is not None:
        yield f"multimodal on images that the model was never trained on: {count(facts['multimodal_never_trained'])}"
    if facts["multimodal_test"] is not None:
        yield (
            f"multimodal on the artists of the test set, which nothing was chosen by: {count(facts['multimodal_test'])} "
            f"of {count(facts['units_test'])} whose concept it shows"
        )
    yield from counts.beside
    columns = [*(f"{ap:g}" for ap in counts.thresholds), "directions", "distinct"]
    at = table("precision at least", *columns, right=columns)
    for row in counts.rows:
        if row.curve is not None:
            directions = "–" if row.directions is None else f"{row.directions:.1f}"
            distinct = "–" if row.distinct is None else count(row.distinct)
            at.add_row(row.name, *map(count, row.curve), directions, distinct)
    yield at
    yield from stability_view(facts)
    for warning in counts.warnings:
        yield f"warning: {warning}"
    yield dim(f"{rule.sentence} {RANGES}\n")


def stability_view(facts: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What moves with other artists; nothing where it was not measured."""
    from synesthete.report.counts import moved

    found = moved(facts)
    if found is not None:
        right = ("analysis", *found.columns)
        rows = ((name, *values) for name, values in found.rows.items())
        yield table("with other artists", *right, right=right, rows=rows)


def untested_line(facts: Mapping[str, Any]) -> str:
    """Why nothing is counted as multimodal, and what the atlas still shows, in one line."""
    shown = "which images excite a neuron"
    if facts.get("concepts", 0) > 1:
        shown += ", and how well it tells its concept from others in the modalities there are"
    return f"no count of multimodal neurons: {facts['not_tested']}. The atlas shows {shown}"


def controls_line(facts: Mapping[str, Any]) -> str:
    """The counts that belong together, in one line.

    Examples
    --------
    >>> controls_line({"units": 1024, "multimodal": 147, "multimodal_random_twin": 0})
    'multimodal: 147 of 1,024 units | random twin: 0 | permuted: – | random mixtures: – | shuffled labels: –'
    """

    def number(key: str) -> str:
        return "–" if facts.get(key) is None else count(facts[key])

    return (
        f"multimodal: {number('multimodal')} of {count(facts['units'])} units"
        f" | random twin: {number('multimodal_random_twin')}"
        f" | permuted: {number('multimodal_permuted')}"
        f" | random mixtures: {number('multimodal_rotation')}"
        f" | shuffled labels: {number('multimodal_shuffled')}"
        + (
            f" | words shuffled: {number(order)}"
            if (order := "multimodal_word_order") in facts
            else ""
        )
    )


def neuron_rows(atlas: Atlas, found: Sequence[Neuron]) -> list[dict[str, Any]]:
    """Neurons as JSON: what was measured, and under `review` what people say, or null."""
    from synesthete.reviews import current

    reviews, joint = current(atlas), _joint_scores(atlas, found)
    return [
        neuron.as_dict()
        | {"review": state.as_dict(neuron.name) if (state := reviews.get(neuron.address)) else None}
        | ({"joint": joint[neuron.layer].of(neuron.unit)} if neuron.layer in joint else {})
        for neuron in found
    ]


def _joint_scores(atlas: Atlas, found: Sequence[Neuron]) -> dict[str, JointScores]:
    """The scores of others for the layers of some neurons that read images and texts."""
    from synesthete.analysis.joint_scores import joint_scores

    scores = {layer: joint_scores(atlas, layer) for layer in {neuron.layer for neuron in found}}
    return {layer: one for layer, one in scores.items() if one is not None}


def neurons_view(atlas: Atlas, found: Sequence[Neuron], limit: int) -> Iterator[RenderableType]:
    """A table of neurons, and beneath it the counts with their controls in one line."""
    if not found:
        yield "no such neuron in this atlas"
    else:
        yield _neuron_table(atlas, found[:limit])
        yield from _others_view(atlas, found[:limit])
        if len(found) > limit:
            yield dim(and_more(len(found) - limit, "--limit N"))
    facts = _facts_of(atlas, found)
    if facts.get("multimodal") is not None:
        yield dim(f"● {controls_line(facts)}\n")
    elif facts.get("not_tested"):
        yield dim(f"{untested_line(facts)}\n")


def _others_view(atlas: Atlas, found: Sequence[Neuron]) -> Iterator[RenderableType]:
    """The scores of others of neurons that read images and texts; nothing for others."""
    from synesthete.report.svg import auc

    joint = _joint_scores(atlas, found)
    rows = [(one, joint[one.layer].of(one.unit)) for one in found if one.layer in joint]
    if rows:
        yield table(
            "",
            "dominance",
            "of",
            "bridge",
            "to",
            right=("dominance", "bridge"),
            rows=(
                (
                    neuron.address,
                    auc(own["dominance"], 2),
                    own["dominant"],
                    f"{own['bridge']:.2g}",
                    str(own["partner"]),
                )
                for neuron, own in rows
            ),
        )
        yield dim(
            "Dominance: Modality Dominance Score, 1 images alone, 0 texts alone. Bridge: Bridge Score, to the unit that it is "
            "largest for. Scores of others, without controls or held-out artists."
        )


def report_view(atlas: Atlas, report: NeuronReport) -> Iterator[RenderableType]:
    """What is known of one neuron: its row, what the measurements come to, and the controls."""
    yield _neuron_table(atlas, [report.neuron])
    yield report.sentence
    if report.published:
        yield dim(f"Goh et al. 2021 call it {report.published}.")
    for shown in report.most if any(one.text for one in report.most) else ():
        yield _words(shown)
    yield dim(f"● {controls_line(_facts_of(atlas, [report.neuron]))}\n")


def concept_view(report: ConceptReport) -> Iterator[RenderableType]:
    """A concept by modality: how many units of each layer answer to it there, the best of them, and the controls."""
    from synesthete.probes.probe_set import NAMELESS
    from synesthete.report.svg import auc

    towers = [one.tower for one in report.layers]
    # By tower where that says which layer, so that the table fits 80 columns.
    layers = {
        one.layer: one.tower if towers.count(one.tower) == 1 else one.layer for one in report.layers
    }
    yield Text(report.concept + (f" ({report.family})" if report.family else ""), style="bold")
    right = ("count", *layers.values())
    yield table(
        "modality",
        *right,
        "best unit",
        right=right,
        rows=(
            (
                one.modality,
                count(one.count),
                *(one.answering.get(layer) for layer in layers),
                " ".join((best.address, "AP", auc(best.ap, 2))) if (best := _best(one)) else None,
            )
            for one in report.modalities
        ),
    )
    if report.cell is not None:
        yield f"{report.cell.address} passes as {', '.join(report.cell.passes)}"
    for one in report.modalities:
        for shown in one.exemplars[:1]:
            if shown.text and one.modality in NAMELESS:
                yield Text(f"  {one.modality}  ", style="dim").append(shown.text, style="none")
    chance = ("multimodal", "twin", "mixtures", "shuffled")
    yield table(
        "layer",
        *chance,
        right=chance,
        rows=(
            (one.layer, one.multimodal, one.random_twin, one.rotation, one.shuffled)
            for one in report.layers
        ),
    )


def _best(modality: ConceptModality) -> ConceptUnit | None:
    passing = [unit for unit in modality.units if unit.passes]
    return max(passing, key=lambda unit: unit.ap or 0.0, default=None)


def _facts_of(atlas: Atlas, found: Sequence[Neuron] | Sequence[NeuronRow]) -> Mapping[str, Any]:
    """The summary of an atlas, with the counts of the layer that neurons are of, where it is not a main one."""
    facts = atlas.summary()
    layers = {neuron.address.rpartition(":")[0] for neuron in found}
    if len(layers) == 1 and not layers & set(atlas.main_layers):
        return {**facts, **facts["layers"][layers.pop()]}
    return facts


def _words(shown: Shown) -> Text:
    """A text with the token that the unit answers to most, and its activation."""
    before, token, after = shown.parts
    line = Text(f"  {shown.value or 0.0:.3g}  {shown.modality}  ", style="dim")
    line.append(before[-200:], style="none").append(token, style="bold reverse")
    return line.append(after[:200], style="none")


def _neuron_table(atlas: Atlas, found: Sequence[Neuron] | Sequence[NeuronRow]) -> Table:
    from synesthete.report.columns import in_order
    from synesthete.report.svg import auc
    from synesthete.reviews import current

    reviews = current(atlas)
    modalities = in_order(modality for neuron in found for modality in neuron.auc)
    # Within 80 columns; q and average precision are in --json and on the card.
    right = ("multi-\nmodality", *modalities)
    return table(
        "address",
        "heading",
        *right,
        right=right,
        rows=(
            (
                neuron.address,
                _heading(neuron, reviews.get(neuron.address)),
                auc(neuron.multimodality, 2),
                *(auc(neuron.auc.get(modality), 2) for modality in modalities),
            )
            for neuron in found
        ),
    )


def _heading(neuron: Neuron | NeuronRow, review: State | None) -> str:
    """The heading, a bullet before it where the neuron passes, and the other of name and concept.

    A person's name stands above the machine's.
    """
    heading = f"{'●' if neuron.multimodal else ' '} {neuron.heading or '–'}"
    if review is not None and review.verdicts:
        return f"{heading}: {review.as_dict(neuron.name)['name'] or 'no name'} (reviewed)"
    return f"{heading} ({neuron.also})" if neuron.also else heading
