"""A small atlas, recorded for real by a small random model, with analysis tables of known content."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

CONCEPTS = {"apple": "food", "boat": "vehicle", "<b>&cat</b>": "animal", "drum": "music"}
MODALITIES = ("photo", "drawing", "symbol", "word")
ARTISTS = ("ada", "ben", "cleo", "dora")
NASTY = '<script>alert("x")</script> & \u0007 ]]> </svg>'
LAYER = "visual.layer4.0"
COUNTS = {
    "selective": 3,
    "multimodal": 2,
    "concept_cells": 1,
    "multimodal_random_twin": 1,
    "multimodal_permuted": 0,
    "multimodal_rotation": 0,
    "multimodal_shuffled": 0,
    "curve": [3, 2, 1],
    "curve_random_twin": [2, 1, 0],
    "curve_permuted": [1, 0, 0],
    "curve_rotation": [3, 0, 0],
    "curve_shuffled": [0, 0, 0],
    "concepts": {"<b>&cat</b>": 1, "apple": 1},
    "concepts_random_twin": {"drum": 1},
    "concepts_permuted": {},
    "concepts_rotation": {},
    "concepts_shuffled": {},
}
COLOURS = {"apple": "#c33", "boat": "#36c", "<b>&cat</b>": "#777", "drum": "#a62"}
SHAPES = {"apple": "ellipse", "boat": "polygon", "<b>&cat</b>": "rectangle", "drum": "line"}


def write_model(folder: Path, *, seed: int = 0, dim: int = 16) -> str:
    """A small random ModifiedResNet as open_clip's `local-dir:`; returns its spec."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    config = {
        "embed_dim": dim,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    }
    folder.mkdir(parents=True)
    save_file(CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    described = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    return f"local-dir:{folder}"


def write_images(folder: Path) -> Path:
    """Images of four concepts in four modalities by four artists, and one that cannot be read."""
    folder.mkdir(parents=True)
    rows = []
    for concept, family in CONCEPTS.items():
        for modality in MODALITIES:
            for place, artist in enumerate(ARTISTS):
                name = f"{family}-{modality}-{artist}.png"
                _draw(concept, modality, place).save(folder / name)
                caption = NASTY if concept == "apple" else f"a {concept}"
                rows.append((name, concept, modality, artist, caption, family))
    (folder / "broken.png").write_bytes(b"")
    rows.append(("broken.png", "apple", "photo", "ada", "empty", "food"))
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file_name", "concept", "modality", "artist", "caption", "family"))
        writer.writerows(rows)
    return folder / "metadata.csv"


def _draw(concept: str, modality: str, place: int) -> Image.Image:
    image = Image.new("RGB", (64, 64), "#bcd" if modality == "photo" else "white")
    pen = ImageDraw.Draw(image)
    shift = 3 * place
    if modality == "word":
        pen.text((4 + shift, 24), CONCEPTS[concept], fill="black")
        return image
    colour = "black" if modality == "symbol" else COLOURS[concept]
    if concept == "boat":
        pen.polygon([(8 + shift, 40), (52, 40), (30, 10 + shift)], fill=colour)
    elif concept == "apple":
        pen.ellipse((10 + shift, 10, 50, 50 + shift), fill=colour)
    else:
        pen.rectangle((10, 12 + shift, 40 + shift, 50), outline=colour, width=4 + place)
    return image


def record_small(
    folder: Path, *, dense: bool = True, sample: int = 0, layers: tuple[str, ...] = (LAYER,)
) -> Path:
    """Record the small model on the images; not analysed yet."""
    from synesthete.models import load_model
    from synesthete.probes import load_probes
    from synesthete.recording import record

    model = load_model(write_model(folder / "model"))
    probes = load_probes(write_images(folder / "images"))
    out = folder / "small.atlas"
    return record(model, probes, list(layers), out, dense=dense, sample=sample, exemplars=8)


def write_known_analysis(path: Path) -> None:
    """Analysis tables with known content: unit 0 is multimodal for apple, 1 for the cat, 2 is dead."""
    from synesthete.atlas import (
        clear_analysis,
        open_atlas,
        write_analysis,
        write_neurons,
        write_selectivity,
    )

    clear_analysis(path)
    atlas = open_atlas(path)
    units = atlas.layer(LAYER)["units"]
    statistics = atlas.statistics(LAYER)
    score = np.linspace(0.89, 0.4, units)
    score[0], score[1], score[2] = 0.97, 0.93, np.nan
    concepts = [*CONCEPTS][0::2] + [*CONCEPTS][1::2]
    columns = {
        "unit": list(range(units)),
        "concept": ["" if unit == 2 else concepts[unit % 4] for unit in range(units)],
        "family": ["" if unit == 2 else CONCEPTS[concepts[unit % 4]] for unit in range(units)],
        "multimodality": score,
        "q": [1.0 if unit > 1 else 2.5e-5 for unit in range(units)],
        "verdict": [
            {0: "concept cell", 1: "multimodal", 2: "untested"}.get(unit, "none")
            for unit in range(units)
        ],
        "selective": [unit < 2 for unit in range(units)],
        "multimodal": [unit < 2 for unit in range(units)],
        "concept_cell": [unit < 1 for unit in range(units)],
        "passed": [4 if unit < 2 else 0 for unit in range(units)],
        "lower": score - 0.4,
        "n_concepts": [2 if unit == 0 else 1 for unit in range(units)],
        "sparseness": [0.8] * units,
        "dead": [unit == 2 for unit in range(units)],
        "mean": statistics.mean,
        "std": statistics.std,
        "maximum": statistics.maximum.astype(float),
    }
    for place, modality in enumerate(MODALITIES):
        columns[f"auc_{modality}"] = np.minimum(score + 0.01 * place, 1.0)
        columns[f"p_{modality}"] = np.full(units, 0.01)
        columns[f"ap_{modality}"] = score - 0.3
        columns[f"ap_low_{modality}"] = score - 0.4
        columns[f"n_{modality}"] = np.full(units, 3, np.int32)
        columns[f"artists_{modality}"] = np.full(units, 3, np.int32)
    table = pa.table(columns)
    write_neurons(path, LAYER, table)
    write_selectivity(path, LAYER, _selectivity(table))
    counts = {"units": units, "live_units": units - 1, **COUNTS}
    halves = {"selection": ["ada"], "scoring": ["ben", "cleo", "dora"]}
    rule = {"threshold": 0.9, "q": 0.01, "ap": 0.2, "cell": 0.5, "curve": [0.0, 0.2, 0.5]}
    notes = {**rule, "seed": 0, "halves": halves}
    write_analysis(path, {**notes, "layers": {LAYER: counts}})


def _selectivity(table: pa.Table) -> pa.Table:
    """Each live unit's own concept, in the columns that an analysis writes."""
    live = table.filter(pa.array([not dead for dead in table["dead"].to_pylist()]))
    measured = {f"{name}_{modality}" for name in ("auc", "p") for modality in MODALITIES}
    neurons = live.select(["unit", "concept", *sorted(measured)])
    neurons = neurons.append_column("passes", live["multimodal"])
    for modality in MODALITIES:
        neurons = neurons.append_column(f"q_{modality}", live[f"p_{modality}"])
        neurons = neurons.append_column(
            f"n_{modality}", pa.array([len(ARTISTS)] * len(live), pa.int32())
        )
    return neurons
