"""Sections that only read the atlas: triage, what an activation means, families, the other tower, the shared space, controls."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import binom

from synesthete._core.arrays import Bool
from synesthete._core.intervals import Rate
from synesthete._core.row_reader import csv_rows
from synesthete.analysis.conditional import conditional
from synesthete.analysis.design import labelled_design, tower_of
from synesthete.atlas.files import write_file
from synesthete.atlas.summary import CONTROLS
from synesthete.errors import SynestheteError
from synesthete.published import PRE, table, world
from synesthete.report import charts, svg
from synesthete.reproduction.section import Found, Row, Subject, mean_row, pooled_row, share

SAMPLE = 50
SHOWN = 12
JUDGEMENTS = ("interpretable", "polysemantic", "uninterpretable")
PUBLISHED_TRIAGE = {"interpretable": 0.76, "polysemantic": 0.18, "uninterpretable": 0.06}
STRONG = 30.0  # standard deviations from zero
FEW = 10
TOP = 5
FEWEST_PLACES = 100  # among the words, to say that a unit answers to none


def triage(subject: Subject) -> Found:
    """A random sample of units, judged blind: the task is written, and counted once somebody has filled it in."""
    rng = np.random.default_rng(subject.seed)
    neurons = sorted(subject.neurons, key=lambda one: one.unit)
    some = [neurons[i] for i in rng.choice(len(neurons), min(SAMPLE, len(neurons)), replace=False)]
    task = hashlib.sha256(f"{subject.atlas.fingerprint} {subject.layer} {subject.seed}".encode())
    path = subject.folder / "triage" / task.hexdigest()[:8] / "judgements.csv"
    numbers = [one.unit for one in some]
    answers = _judgements(path, numbers) if path.exists() else {}
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path.with_name("task.html"), _task(subject, numbers).encode())
        stream = io.StringIO()
        csv.writer(stream).writerows([("unit", "judgement"), *((unit, "") for unit in numbers)])
        write_file(path, stream.getvalue().encode())
    judged = [answers[unit] for unit in numbers if answers.get(unit)]
    rows = []
    for name in JUDGEMENTS:
        measure = f"sampled units that a person judges {name}"
        if len(judged) < len(numbers):
            note = (
                f"not judged ({len(judged)} of {len(numbers)}): look at task.html, fill in judgements.csv, both in triage/{path.parent.name} "
                f"({', '.join(JUDGEMENTS)}), and run this section again"
            )
            rows.append(
                Row(
                    section="triage",
                    measure=measure,
                    n=len(judged),
                    value=None,
                    published=PUBLISHED_TRIAGE[name],
                    note=note,
                )
            )
        else:
            rows.append(
                share(
                    "triage",
                    measure,
                    Rate(judged.count(name), len(judged)),
                    published=PUBLISHED_TRIAGE[name],
                    note="judged blind by one person; without units of a control among them",
                )
            )
    passing = Rate.of([one.verdict not in ("none", "untested") for one in some])
    rows.append(
        share(
            "triage",
            "the same units, selective by the labels of the probe set",
            passing,
            control=_control_share(subject, "selective"),
            note="no person's judgement",
        )
    )
    return Found(rows)


def _judgements(path: Any, units: list[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for _, line in csv_rows(path)[1]:
        if isinstance(line, SynestheteError):
            raise line
        unit, judgement = (line.get("unit") or "").strip(), (line.get("judgement") or "").strip()
        if not unit.isdecimal() or int(unit) not in units or judgement not in (*JUDGEMENTS, ""):
            raise SynestheteError(
                f"{path}: unit {unit!r}, judgement {judgement!r} is not a line of this task",
                hint=f"judgements are {', '.join(JUDGEMENTS)}, or nothing",
            )
        found[int(unit)] = judgement
    return found


def _task(subject: Subject, units: list[int]) -> str:
    """A page with the images that excite each sampled unit most, and nothing that names it."""
    pieces = []
    values = subject.atlas.activations(subject.layer)
    is_text = np.array([subject.atlas.text(i) is not None for i in range(len(values))])

    @cache  # an image excites many units, and is decoded for one
    def shown(image: int) -> str:
        return svg.data_uri(subject.atlas.thumbnail(image))

    for unit in units:
        column = np.nan_to_num(np.asarray(values[:, unit], np.float32), nan=-np.inf)
        column[is_text] = -np.inf
        strongest = np.argsort(-column, kind="stable")[:SHOWN]
        images = "".join(
            f'<img alt="image {rank + 1}" src="{shown(int(i))}">'
            for rank, i in enumerate(strongest)
        )
        pieces.append(f"<section><h2>Unit {unit}</h2>{images}</section>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Triage</title>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        "<style>body{font:16px sans-serif;max-width:60rem;margin:2rem auto}img{width:7.5%;margin:.2%}</style>"
        "<h1>What do these images have in common?</h1>"
        f"<p>Judge each unit by its {SHOWN} strongest images alone: <b>interpretable</b> (one thing), <b>polysemantic</b> "
        "(two things or more, each clear), or <b>uninterpretable</b>. Write the word behind its number in judgements.csv.</p>"
        + "".join(pieces)
    )


def conditional_probability(subject: Subject) -> Found:
    """P(category | activation) of the multimodal neurons, on images by artists who had no part in choosing the category (but in choosing the neurons)."""
    neurons = subject.multimodal or subject.neurons[:FEW]
    layer = subject.before_relu
    rows_, design = labelled_design(subject.atlas, purpose="conditional probabilities")
    scored = rows_[design.split.scoring]
    concepts = np.array(subject.atlas.probes["concept"].to_pylist(), object)[scored]
    matrix = subject.atlas.activations(layer)
    beyond: list[Bool] = []
    upper: list[Bool] = []
    base, inside, outside = [], [], []
    named = np.unique([one.concept for one in neurons])
    among = np.isin(concepts, named)
    for one in neurons:
        column = np.asarray(matrix[:, one.unit], np.float64)
        scaled = np.nan_to_num(column[scored]) / max(float(np.nanstd(column)), 1e-12)
        own = concepts == one.concept
        beyond.append(own[scaled > STRONG])
        upper.append(own[scaled > scaled.max() / 2])
        base.append(float(own.mean()))
        others = among & ~own
        if own.any() and others.any():
            inside.append(float(np.median(scaled[own])))
            outside.append(float(np.median(scaled[others])))
    person = table("person")["bars"]
    chance = float(np.mean(base)) if base else None
    none = "" if subject.multimodal else "no neuron is multimodal: of the others "
    silent = "" if layer.endswith(PRE) else ", behind its non-linearity (the article: before it)"
    note = (
        f"{none}{len(neurons)} neurons, which were found multimodal on these images, so the shares are high ones; images pooled, interval over neurons; images "
        f"by artists that the concept was not chosen on, labels of the probe set, {layer}{silent}; control: the concept's share of all images"
    )
    strong = sum(1 for one in beyond if len(one))
    return Found(
        [
            pooled_row(
                "conditional",
                f"images above {STRONG:g} standard deviations that show the neuron's concept",
                beyond,
                seed=subject.seed,
                published=0.9,
                control=chance,
                note=f"{note}. {strong} neurons have such images. Published: one unit, more than that"
                if strong
                else "no activation of these is that strong; the article's unit 89 has more than 90 % there",
            ),
            pooled_row(
                "conditional",
                "images above half of the neuron's strongest activation that show its concept",
                upper,
                seed=subject.seed,
                control=chance,
                note=note,
            ),
            mean_row(
                "conditional",
                "median activation, in standard deviations, for the images of the neuron's concept",
                inside,
                seed=subject.seed,
                published=max(person),
                control=float(np.mean(outside)) if outside else None,
                note=f"mean over these neurons, interval over them{silent}; control: for the images of the others' concepts. Published: unit 89 for photos of its person; "
                f"for those of {len(person) - 1} other people {min(person):.1f} to {sorted(person)[-2]:.1f}",
            ),
        ],
        {
            f"{neurons[0].heading or neurons[0].address}: what an activation means": charts.conditional_chart(
                conditional(subject.atlas, f"{layer}:{neurons[0].unit}")
            )
        }
        if neurons
        else {},
    )


def families(subject: Subject) -> Found:
    """Which of the article's families there are, and how many units are about places."""
    known = [row["family"] for row in table("units")["families"]]
    counts = Counter(one.family for one in subject.neurons if one.family)
    words = subject.words
    listed = np.flatnonzero(words.english)
    geographic = np.array([world().has(words.words[i]) for i in listed])
    top = np.argsort(-words.activations[listed], axis=0, kind="stable")[:TOP]
    alive = [one.unit for one in subject.neurons]
    hits = geographic[top][:, alive]
    note = f"of {len(listed):,} English words {int(geographic.sum())} are names of countries or cities; control: words at random"
    if geographic.sum() < FEWEST_PLACES:
        note += f". Too few to compare with the article's 2.5 % of the units: --words 10000 has {FEWEST_PLACES} and more"
    rows = [
        share(
            "families",
            f"units of whose five strongest words {what} geographic",
            Rate.of(hits.sum(axis=0) >= fewest),
            # With few names of places among the words, most of five is out of reach.
            published=published if geographic.sum() >= FEWEST_PLACES else None,
            control=float(binom.sf(fewest - 1, TOP, float(geographic.mean()))),
            note=note + also,
        )
        for what, fewest, published, also in (
            ("all are", TOP, 0.025, ""),
            (
                "most are",
                TOP // 2 + 1,
                0.04,
                ". Published: units that the article calls regional, by hand",
            ),
            ("one or more is", 1, None, ""),
        )
    ]
    if counts:
        largest, most = counts.most_common(1)[0]
        rows.append(
            share(
                "families",
                f"units of the largest family, {largest}",
                Rate(most, len(alive)),
                note=f"{len(counts)} families have a unit; the article lists {len(known)}. Families are assigned by names, so there is no control",
            )
        )
    else:
        rows.append(
            Row(
                section="families",
                measure="units of the largest family",
                n=0,
                value=None,
                note="no families: name the neurons of this atlas (synesthete name, synesthete families)",
            )
        )
    return Found(rows, {}, [f"{family}: {count} units" for family, count in counts.most_common()])


def text_tower(subject: Subject) -> Found:
    """The same test on units that read texts."""
    return _other(subject, "text", "units of the text tower")


def joint(subject: Subject) -> Found:
    """The same test on directions of the space that images and texts share."""
    return _other(subject, "joint", "directions of the joint space")


def _other(subject: Subject, tower: str, what: str) -> Found:
    rows = []
    for layer in subject.atlas.layers:
        if tower_of(subject.atlas, layer) == tower:
            rows += _verdicts(subject, tower, f"{what} ({layer})", layer)
    if not rows:
        note = "the atlas has no layer of it: record one with the probe set's texts"
        rows = [Row(section=tower, measure=f"{what} that pass", n=0, value=None, note=note)]
    return Found(rows)


def controls(subject: Subject) -> Found:
    """Multimodal units, beside every network and labelling in which there is nothing to find."""
    rows = _verdicts(subject, "controls", f"units of {subject.layer}", subject.layer)
    counts = _counts(subject, subject.layer)
    bars = []
    for name in ("", *CONTROLS):
        passing = counts.get(f"multimodal_{name}" if name else "multimodal")
        if passing is not None:
            rate = Rate(int(passing), _live(counts))
            low, high = rate.interval
            bars.append(
                charts.Rate(
                    label=(name or "the model").replace("_", " "),
                    value=rate.rate,
                    low=low,
                    high=high,
                    note=f"{int(passing)} of {_live(counts)}",
                    colour="faint" if name else "accent",
                )
            )
    return Found(rows, {"Multimodal units": str(charts.rate_bars(bars, "Multimodal units"))})


def _verdicts(subject: Subject, section: str, what: str, layer: str) -> list[Row]:
    counts = _counts(subject, layer)
    n = _live(counts)
    rows = []
    for verdict in ("selective", "multimodal", "concept_cells"):
        if counts.get(verdict) is None:
            continue
        row = share(
            section,
            f"{what}: {verdict.replace('_', ' ')}",
            Rate(int(counts[verdict]), n),
            control=_largest(counts, verdict, n),
            note="labels of the probe set; control: the largest count among untrained networks, rotated units and shuffled labels",
        )
        rows.append(_over_artists(row, counts, verdict))
    return rows


def _over_artists(row: Row, counts: Mapping[str, Any], verdict: str) -> Row:
    """A count with the range that other draws of the artists give, where the analysis drew some: they are what was sampled."""
    stability = counts.get("stability") or {}
    draws, splits = (
        [int(one) for one in (stability.get(kind) or {}).get(verdict) or []]
        for kind in ("resamples", "splits")
    )
    if row.interval is None or not draws or not splits:
        return replace(row, note=f"{row.note}. The interval is over units, not over artists")
    low, high = row.interval
    least, most = min(draws) / row.n, max(draws) / row.n
    note = (
        f"{row.note}. The interval covers {len(draws)} draws of the artists with replacement ({least:.3f} to {most:.3f}) and the units alone ({low:.3f} to {high:.3f}); "
        f"over {len(splits)} other splits of the artists {min(splits) / row.n:.3f} to {max(splits) / row.n:.3f}, mean {np.mean(splits) / row.n:.3f}"
    )
    unseen = counts.get(f"{verdict}_never_trained")
    if unseen is not None:
        note += f". On images that it was not trained on alone: {int(unseen)} units"
    return replace(row, interval=(min(low, least), max(high, most)), note=note)


def _counts(subject: Subject, layer: str) -> Mapping[str, Any]:
    analysis = subject.atlas.manifest["analysis"]
    found: Mapping[str, Any] = analysis["layers"][layer]
    return found


def _live(counts: Mapping[str, Any]) -> int:
    return int(counts["live_units"])


def _largest(counts: Mapping[str, Any], verdict: str, n: int) -> float | None:
    found = [counts.get(f"{verdict}_{name}") for name in CONTROLS]
    there = [int(count) for count in found if count is not None]
    return max(there) / n if there and n else None


def _control_share(subject: Subject, verdict: str) -> float | None:
    counts = _counts(subject, subject.layer)
    return _largest(counts, verdict, _live(counts))
