"""Every measurement of the model card, in one go."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from training import more_artists, pictographs, tables
from training.evaluation import card
from training.evaluation.associations import occupations
from training.evaluation.likeness import nearest_spelt, spelt_alike
from training.evaluation.linear_probe import linear_probe
from training.evaluation.reading import unseen_words
from training.evaluation.retrieval import read_items, recall
from training.evaluation.texts import understood
from training.evaluation.typographic import attack, stroop

SYSTEM_SOURCES = {
    "openclipart": ("Debian openclipart-svg", "public domain"),
    "tuxpaint": ("Debian tuxpaint-stamps-default", "GPL-2+ as packaged, mixed upstream"),
    "gcompris": ("Debian gcompris-qt-data", "per file"),
    "simple-icons": ("Simple Icons: brand marks, their owners' trademarks", "CC0 1.0"),
    "flag": ("npm @iconify-json/flag", "MIT"),
    "circle-flags": ("npm @iconify-json/circle-flags", "MIT"),
    **{
        font.artist: (f"{font.author}: the font {font.key}", font.licence)
        for font in pictographs.FONTS
    },
}


MORE = "more artists"


def data_table(data: Path, photos: Path) -> list[dict[str, Any]]:
    """Images of the training data by source, with the licence."""
    known: dict[str, tuple[str, str]] = {}
    for row in tables.rows(Path(__file__).parents[1] / "build_concepts" / "packages.tsv"):
        known.setdefault(row["artist"], (row["author"], row["licence"]))
    for row in tables.rows(photos / "manifest.csv"):
        known.setdefault(row["path"].split("/")[0], (row["source repo"], row["licence"]))
    more = {row.key: row.set for row in more_artists.listed()}
    # A set may be called as an artist of the probe set is: both have a "fluent".
    images = [(row["key"], row["artist"]) for row in tables.rows(data / "images.tsv")]
    counts = Counter(MORE if key in more else artist for key, artist in images)
    if used := {more[key] for key, _ in images if key in more}:
        licences = {row["licence"] for row in more_artists.sets() if row["set"] in used}
        known[MORE] = (
            f"{len(used)} further icon sets (training/more_sets.tsv names them)",
            ", ".join(sorted(licences)),
        )
    table = SYSTEM_SOURCES | {
        artist: known[artist] for artist in counts if artist and known.get(artist, ("", ""))[0]
    }
    return [
        {
            "images": count,
            "source": table.get(artist, (artist, ""))[0],
            "licence": table.get(artist, ("", "see the manifest"))[1],
        }
        for artist, count in counts.most_common()
    ]


def training_facts(data: Path, photos: Path, fonts: int) -> dict[str, Any]:
    """Shape and schedule of the trained towers."""
    import torch

    from training.architecture import EMBED_DIM, IMAGE_SIZE, create

    saved = torch.load(data / "image.pt")
    return {
        "image_size": IMAGE_SIZE,
        "grid": IMAGE_SIZE // 32,
        "embed_dim": EMBED_DIM,
        "parameters": sum(p.numel() for p in create(IMAGE_SIZE).parameters()),
        "samples": saved["seen"],
        "minutes": saved["spent"] / 60,
        "earlier": saved.get("earlier"),
        "averaged": saved.get("averaged", 1),
        "recipe": saved["recipe"],
        "fonts": fonts,
        "data": data_table(data, photos),
    }


def _held_out_images(model_name: str, modality: str) -> tuple[list[Any], list[int], list[str]]:
    """Held-out images of the built-in probe set, the number of each one's concept, all names."""
    from synesthete import load_probes
    from synesthete.analysis.zero_shot import held_out_rows

    probes = load_probes("concepts", texts=False)
    names = list(probes.concepts)
    table = probes.table
    rows = np.flatnonzero(
        held_out_rows(model_name, table) & (np.array(table["modality"].to_pylist()) == modality)
    )
    concepts = table["concept"].to_pylist()
    return [probes.image(int(r)) for r in rows], [names.index(concepts[r]) for r in rows], names


def measure(
    model_spec: str,
    data: Path,
    *,
    words: list[str],
    clip_art: list[str],
    photos: list[str],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """All results; each that can have one stands beside the random twin's.

    Parameters
    ----------
    words
        Words that were never written in training.
    clip_art, photos
        Keys of held-out images of the training data, the latter of one photo source.
    """
    from synesthete import evaluate, load_model

    model = load_model(model_spec)
    pair = {"model": model, "random_twin": model.random_twin(0)}
    tiles, titles = read_items(data, clip_art)
    photo_tiles, labels = read_items(data, photos)
    attacks = {}
    for modality in ("drawing", "photo"):
        images, truth, names = _held_out_images(model_spec, modality)
        attacks[modality] = attack(model, images, truth, names)
    nearest = nearest_spelt(names)
    return {
        "training": facts,
        "zero_shot": evaluate(model_spec),
        "unseen_words": {key: unseen_words(one, words) for key, one in pair.items()},
        "retrieval": {key: recall(one, tiles, titles) for key, one in pair.items()},
        "linear_probe": {key: linear_probe(one, photo_tiles, labels) for key, one in pair.items()},
        "typographic": attacks,
        "stroop": stroop(model),
        "associations": occupations(model),
        "spelling": {key: spelt_alike(one, names, nearest) for key, one in pair.items()},
        "texts": {key: understood(one) for key, one in pair.items()},
    }


def spec_of(folder: Path) -> str:
    """What Synesthete calls the model in `folder`: the shipped one by its name."""
    from synesthete.models.sources import MINI

    return "mini" if folder.resolve() == MINI.resolve() else f"local-dir:{folder}"


NEURONS = ("units", "images", "selective", "multimodal", "concept_cells", "stability", *(
    f"multimodal{key}" for key in ("_never_trained", "_random_twin", "_rotation", "_shuffled", "_range_random_twin")
))  # fmt: skip


def add_neurons(out: Path, atlas: Path) -> None:
    """Put the counts of an analysed atlas of the model, and how stable they are, into `evaluation.json` and the card."""
    from synesthete.atlas import open_atlas

    facts = open_atlas(atlas).summary()
    results = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    write(out, results | {"neurons": {key: facts[key] for key in NEURONS}})


def add_texts(out: Path) -> None:
    """Measure again what a changed text tower changes and no training data is needed for, in `evaluation.json` and the card."""
    from synesthete import evaluate, load_model

    spec = spec_of(out)
    model = load_model(spec)
    pair = {"model": model, "random_twin": model.random_twin(0)}
    attacks = {}
    for modality in ("drawing", "photo"):
        images, truth, names = _held_out_images(spec, modality)
        attacks[modality] = attack(model, images, truth, names)
    nearest = nearest_spelt(names)
    results = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    new = {
        "zero_shot": evaluate(spec),
        "typographic": attacks,
        "stroop": stroop(model),
        "associations": occupations(model),
        "spelling": {key: spelt_alike(one, names, nearest) for key, one in pair.items()},
        "texts": {key: understood(one) for key, one in pair.items()},
    }
    write(out, results | new | {"older_text_tower": ["unseen_words", "retrieval"]})


def write(out: Path, results: dict[str, Any]) -> None:
    """`evaluation.json` and `MODEL_CARD.md` in the model's folder."""
    (out / "evaluation.json").write_text(card.dumped(results))
    (out / "MODEL_CARD.md").write_text(card.page(results))
