"""The whole article on one model: record, analyse, measure section after section, and write the report."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete._core.json_reader import read_json
from synesthete.atlas import Atlas, open_atlas
from synesthete.atlas.files import write_file
from synesthete.errors import SynestheteError, one_of
from synesthete.reproduction import attacks, meanings, neurons, regions, visualizations, words
from synesthete.reproduction.page import report_page
from synesthete.reproduction.section import UNMEASURED, Found, Row, Say, Subject, counted
from synesthete.reproduction.settings import Settings

if TYPE_CHECKING:
    from synesthete.recording.executors import Executor

FORMAT = 4
PROBES = "concepts"
SEED = 0  # of an atlas that is recorded here: another seed of the report shall not record again


@dataclass(frozen=True)
class Section:
    """One measurement of the article.

    Attributes
    ----------
    title
        As the report heads it.
    about
        One sentence: what the article did.
    run
        Measures it.
    reads
        The settings that it depends on, beside the seed.
    """

    title: str
    about: str
    run: Callable[[Subject], Found]
    reads: tuple[str, ...] = ()


SECTIONS: dict[str, Section] = {
    "controls": Section(
        "Multimodal neurons, with controls",
        "Units that respond to one concept however it is shown. The article names them by hand; here they are counted by a test on "
        "images by held-out artists.",
        neurons.controls,
    ),
    "triage": Section(
        "Triage",
        "A random sample of 50 units, each judged by its images: interpretable, polysemantic, or not.",
        neurons.triage,
    ),
    "conditional": Section(
        "What an activation means",
        "Images over the whole range of a unit's activation, labelled blind: P(category | activation).",
        neurons.conditional_probability,
    ),
    "words": Section(
        "Rendered words",
        "A vocabulary drawn as images: the words that excite a unit, and how near the images of words are to each other.",
        words.rendered_words,
        ("words",),
    ),
    "families": Section(
        "Families",
        "Sixteen families of neurons; 2.5 % of the units respond to geographic words before all others.",
        neurons.families,
        ("words",),
    ),
    "regions": Section(
        "Region neurons",
        "What a unit responds to: crops of an unlabelled world map (squares), written names of countries (filled) and of cities (dots).",
        regions.region_maps,
        ("words", "crops"),
    ),
    "emotions": Section(
        "The emotion atlas",
        "Emotions as sparse sums of units; two factors give valence and arousal, seven the standard categories.",
        meanings.emotions,
    ),
    "classes": Section(
        "Classes as sums of units",
        "Three units for each class of ImageNet give 56.4 % top-5 accuracy.",
        meanings.classes,
    ),
    "texts": Section(
        "Texts that a unit promotes",
        "The bilinear form between a unit and the embedding of a text.",
        meanings.promoted_texts,
    ),
    "visualizations": Section(
        "Faceted feature visualization",
        "Images optimised to excite a unit, each steered towards a facet: face, text, logo, architecture, indoor, nature, pose.",
        visualizations.faceted_images,
        ("visualized",),
    ),
    "typographic": Section(
        "Typographic attacks",
        "A word written on an image becomes the answer.",
        attacks.typographic,
        ("images",),
    ),
    "stroop": Section(
        "Stroop test",
        "The name of one colour in the ink of another: all of 49 cells read the word.",
        attacks.stroop_test,
    ),
    "text": Section(
        "The text tower",
        "The article reads the image tower alone; but a concept can be described too.",
        neurons.text_tower,
    ),
    "joint": Section(
        "The joint space",
        "Directions in which images and texts lie alike.",
        neurons.joint,
    ),
}


def reproduce(
    model: str,
    out: str | Path,
    *,
    sections: Sequence[str] = (),
    probes: str | None = None,
    atlas: str | Path | None = None,
    settings: Settings | None = None,
    executor: Executor | None = None,
    say: Say | None = None,
) -> dict[str, Any]:
    """Measure on a model what *Multimodal Neurons in Artificial Neural Networks* measured, and write a report.

    Each section is kept as soon as it is measured; a second run measures only what is missing, or what other settings that it depends on, another
    atlas or another version would change.

    Parameters
    ----------
    model
        A name as for `load_model`.
    out
        Folder of the report: `report.html`, `report.json`, `sections/NAME.json`; and, without `atlas`, the one that is recorded, `model-….atlas`.
    sections
        Names from `SECTIONS`; all of them without any.
    probes
        The probe set to record, as for `load_probes`; `concepts` by default.
    atlas
        An atlas of the model that is analysed already; nothing is recorded then, and `probes` has no place.
    settings
        How much is measured.
    executor
        Who records the images and reads the drawn words; this process without it.
    say
        Called with what is being done, and how far it is.

    Returns
    -------
    dict
        The report: `model`, `layer`, `settings`, and `sections`, name → `title`, `about`, `rows`, `figures`, `lines`, `seconds`.

    Raises
    ------
    SynestheteError
        No such section, model or probe set; an atlas of another model, or one that is not analysed.
    """
    if probes is not None and atlas is not None:
        raise SynestheteError("an atlas has its images: give the atlas, or probes to record")
    names = list(dict.fromkeys(sections)) or list(SECTIONS)
    for name in names:
        if name not in SECTIONS:
            raise SynestheteError(f"no section {name!r}", hint=one_of(name, SECTIONS))
    step = say or (lambda message: None)
    folder, settings = Path(out), settings or Settings()
    folder.mkdir(parents=True, exist_ok=True)
    opened = (
        _recorded(model, probes or PROBES, folder, settings, step, executor)
        if atlas is None
        else _given(model, atlas)
    )
    subject = Subject(opened, folder, settings, step, executor)
    key = {
        "format": FORMAT,
        "atlas": opened.fingerprint,
        "analysis": _digest(opened),
        "layer": subject.layer,
        "synesthete": version("synesthete"),
        "seed": settings.seed,
    }
    found = {}
    for name, section in SECTIONS.items():
        path = folder / "sections" / f"{name}.json"
        own = key | {one: getattr(settings, one) for one in section.reads}
        kept = _kept(path)
        if kept is not None and (kept.get("key") != own or (name in names and _waits(name, kept))):
            kept = None
        if kept is None and name in names:
            step(f"{name}: {section.title}")
            kept = {"key": own, **_measured(name, section, subject)}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, _json(kept))
        if kept is not None:
            found[name] = kept
    report = {
        "schema": "synesthete.reproduction",
        "version": FORMAT,
        "model": opened.manifest["model"]["name"],
        "weights_sha256": opened.manifest["model"]["weights_sha256"],
        "probes": opened.manifest["probes"]["name"],
        "images": opened.manifest["probes"]["images"],
        "layer": subject.layer,
        "settings": asdict(settings),
        "versions": {"synesthete": version("synesthete"), "torch": version("torch")},
        "sections": {
            name: {key: value for key, value in one.items() if key != "key"}
            for name, one in found.items()
        },
    }
    write_file(folder / "report.html", report_page(report).encode())
    write_file(folder / "report.json", _json(report))
    return report


def _kept(path: Path) -> dict[str, Any] | None:
    """A section that was measured; a damaged one is measured again."""
    try:
        found: dict[str, Any] | None = read_json(path) if path.exists() else None
    except SynestheteError:
        return None
    return found


def _measured(name: str, section: Section, subject: Subject) -> dict[str, Any]:
    """A section as the report has it; one that cannot be measured says why in its only row."""
    started = time.monotonic()
    try:
        found = section.run(subject)
    except SynestheteError as error:
        why = f"{UNMEASURED}: {error}"
        found = Found([Row(section=name, measure=section.title, n=0, value=None, note=why)])
    return {
        "title": section.title,
        "about": section.about,
        "rows": [row.as_dict() for row in found.rows],
        "figures": found.figures,
        "lines": list(found.lines),
        "seconds": round(time.monotonic() - started, 1),
    }


def _digest(atlas: Atlas) -> str:
    """Of the analysis, the names and the families: with other ones every section is measured again."""
    parts = [atlas.manifest.get(part) for part in ("analysis", "names", "families")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _waits(name: str, kept: dict[str, Any]) -> bool:
    """Whether a section would find something else now: a person may have judged, or what it needs may be there."""
    missing = any(UNMEASURED in row["note"] for row in kept["rows"])
    return name == "triage" or missing


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False).encode() + b"\n"


def _given(model: str, path: str | Path) -> Atlas:
    opened = open_atlas(path)
    named = str(opened.manifest["model"]["name"])
    if named != model:
        raise SynestheteError(f"{path} is of {named}, not of {model}")
    if not opened.analysed:
        raise SynestheteError(f"{path} is not analysed", hint=f"synesthete analyze {path}")
    return opened


def _recorded(
    model: str, probes: str, folder: Path, settings: Settings, say: Say, executor: Executor | None
) -> Atlas:
    """Record the last block, the last layer of the text tower and the joint space, unless that is done; analyse and name."""
    from synesthete.analysis import analyze
    from synesthete.analysis.families import assign_families
    from synesthete.analysis.naming import name_neurons
    from synesthete.models import load_model
    from synesthete.probes import load_probes
    from synesthete.published import PRE
    from synesthete.recording import record
    from synesthete.recording.plan import reading_texts

    loaded = load_model(model)
    probe_set = load_probes(probes)
    layers = [settings.layer or loaded.default_layers[0]]
    if any(one.name == f"{layers[0]}{PRE}" for one in loaded.layers("image")):
        layers.append(f"{layers[0]}{PRE}")
    if probe_set.is_text.any():
        layers = [*layers, *reading_texts(loaded)]
    recipe = json.dumps([model, probe_set.fingerprint, layers])
    path = folder / f"model-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}.atlas"
    say(f"records {', '.join(layers)} into {path}")
    progress = partial(counted, say)
    record(
        loaded,
        probe_set,
        layers,
        path,
        seed=SEED,
        executor=executor,
        progress=progress("records images"),
    )
    if not open_atlas(path).analysed:
        analyze(path, seed=SEED, progress=progress("analyses, step"))
    if "families" not in open_atlas(path).manifest:
        name_neurons(path, progress=progress("names the neurons, step"))
        assign_families(path)
    return open_atlas(path)
