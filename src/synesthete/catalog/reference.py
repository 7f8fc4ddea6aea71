"""The null distribution of a catalogue's scores: what its model gives for texts and images unrelated to the items.

Computed once, when a catalogue is created: texts of common words, photos and drawings of the built-in probe set, images
of written words, and the names of concepts. They give the scores of unrelated queries, the mean activation of each unit,
whether it answers to writing, and how it enters the embedding.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synesthete._core.arrays import Bool, Float32
from synesthete.atlas import Atlas
from synesthete.atlas.arrays import NUMBERS, STRINGS, Shape, read_npz
from synesthete.catalog.encode import MICRO_BATCH
from synesthete.errors import SynestheteError
from synesthete.probes.decoding import UnreadableImage

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.models.image_text_model import ImageTextModel

LENGTHS = (1, 2, 4, 8)  # words of an unrelated text
TEXTS_PER_LENGTH = 300
PHOTOS, DRAWINGS, WRITTEN = 128, 64, 64
COMMON, RARE = 800, 9000  # ranks of the English words that texts are made of
WRITING_AUC, IMAGE_AUC = 0.9, 0.7
SENSITIVE = frozenset({"person", "person trait", "religion", "region", "emotion"})
RIDGE = 10.0
_STRINGS = ("texts", "picture_labels", "concepts", "names")
# Their names in reference.npz.
_STORED_AS = {"image_labels": "picture_labels", "image_vectors": "picture_vectors"}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The unrelated texts and images of a catalogue, and what its units are called.

    Attributes
    ----------
    texts
        Unrelated texts; `text_vectors` `[texts, dim]` of them.
    image_labels
        Concepts of the reference images; `image_vectors` `[images, dim]` of them.
    concepts
        Names; `concept_vectors` `[concepts, dim]` of them.
    unit_mean, unit_std
        Of every unit over the reference images, `[units]`.
    path
        `[dim, units]`: what one more of a unit's mean activation adds to the embedding, at unit length.
    names, tested, typographic, sensitive
        Per unit: what it is called, whether that was tested, whether it answers to writing, to people.
    """

    texts: list[str]
    text_vectors: Float32
    image_labels: list[str]
    image_vectors: Float32
    concepts: list[str]
    concept_vectors: Float32
    unit_mean: Float32
    unit_std: Float32
    path: Float32
    names: list[str]
    tested: Bool
    typographic: Bool
    sensitive: Bool

    def arrays(self) -> dict[str, Any]:
        """The arrays under their names in the file."""
        return {
            _STORED_AS.get(name, name): np.asarray(getattr(self, name))
            for name in Reference.__dataclass_fields__
        }

    def to_bytes(self) -> bytes:
        """As an `.npz` without pickles."""
        stream = io.BytesIO()
        np.savez_compressed(stream, **self.arrays())
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Reference:
        """Read what `to_bytes` wrote; raises `SynestheteError` where it is damaged."""
        flat, table = (None,), (None, None)
        expected: dict[str, tuple[Any, Shape]] = dict.fromkeys(_STRINGS, (STRINGS, flat))
        expected |= dict.fromkeys(("tested", "typographic", "sensitive"), (np.bool_, flat))
        expected |= dict.fromkeys(("unit_mean", "unit_std"), (NUMBERS, flat))
        expected |= dict.fromkeys(
            ("text_vectors", "picture_vectors", "concept_vectors", "path"), (NUMBERS, table)
        )
        values: dict[str, Any] = dict(read_npz(data, expected, source="the catalogue's reference"))
        for name in _STRINGS:
            values[name] = [str(one) for one in values[name]]
        return cls(
            **{name: values[_STORED_AS.get(name, name)] for name in cls.__dataclass_fields__}
        )


def unrelated_texts(seed: int = 0) -> list[str]:
    """Texts of 1, 2, 4 and 8 common English words drawn at random, 300 of each."""
    from wordfreq import top_n_list

    words = [word for word in top_n_list("en", RARE) if word.isascii() and word.isalpha()]
    words = [word for word in words[COMMON:] if len(word) > 3]
    rng = np.random.default_rng(seed)
    return [
        " ".join(rng.choice(words, length, replace=False))
        for length in LENGTHS
        for _ in range(TEXTS_PER_LENGTH)
    ]


def make_reference(
    model: ImageTextModel, layer: str, *, atlas: Atlas | None = None, seed: int = 0
) -> tuple[Reference, dict[str, Any]]:
    """Encode the reference; returns it and its facts for the manifest.

    Parameters
    ----------
    layer
        Whose units give the reasons.
    atlas
        Of the same model: units get its tested names, families and selectivities.

    Raises
    ------
    SynestheteError
        An atlas of another model, or without this layer.
    """
    import synesthete.probes as probe_sets

    probes = probe_sets.load_probes("concepts", texts=False)
    concepts = list(probes.concepts)
    texts = unrelated_texts(seed)
    text_vectors = model.encode_texts(texts)
    concept_vectors = model.encode_texts(concepts)
    labels, images = _images(probes)
    vectors, units = _encode(model, layer, images)
    _, written = _encode(model, layer, _written(texts))
    path, route, explained = _path(model, layer, vectors, units)
    typographic = _auc(written, units) >= WRITING_AUC
    names, tested = _called(path, concept_vectors, concepts)
    sensitive = np.zeros(len(names), bool)
    if atlas is not None:
        known = _from_atlas(atlas, model, layer)
        for unit, (name, is_typographic, is_sensitive) in known.items():
            if name:
                names[unit], tested[unit] = name, True
            typographic[unit] = is_typographic
            sensitive[unit] = is_sensitive
    reference = Reference(
        texts=texts,
        text_vectors=text_vectors,
        image_labels=labels,
        image_vectors=vectors,
        concepts=concepts,
        concept_vectors=concept_vectors,
        unit_mean=np.asarray(units.mean(0), np.float32),
        unit_std=np.asarray(units.std(0), np.float32),
        path=path,
        names=names,
        tested=tested,
        typographic=typographic,
        sensitive=sensitive,
    )
    return reference, {
        "texts": len(texts),
        "pictures": len(images),
        "seed": seed,
        "route": route,
        "explained": round(explained, 3),
        "tested_names": int(tested.sum()),
        "typographic_units": int(typographic.sum()),
    }


def _images(probes: Any) -> tuple[list[str], list[Image.Image]]:
    labels, images = [], []
    modality = np.array(probes.labels["modality"].to_pylist())
    concept = probes.labels["concept"].to_pylist()
    for kind, most in (("photo", PHOTOS), ("drawing", DRAWINGS)):
        rows = np.flatnonzero(modality == kind)
        for place in np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round()):
            row = int(rows[int(place)])
            try:
                images.append(probes.image(row))
                labels.append(concept[row])
            except UnreadableImage:
                continue
    return labels, images


def _written(texts: list[str]) -> list[Image.Image]:
    from synesthete.probes.words import load_fonts, render_word

    fonts = load_fonts()
    words = texts[:TEXTS_PER_LENGTH][:WRITTEN]
    return [render_word(w, fonts[i % len(fonts)], size_px=256) for i, w in enumerate(words)]


def _encode(
    model: ImageTextModel, layer: str, images: list[Image.Image]
) -> tuple[Float32, Float32]:
    import torch

    vectors, units = [], []
    for start in range(0, len(images), MICRO_BATCH):
        pixels = torch.stack([model.preprocess(p) for p in images[start : start + MICRO_BATCH]])
        reading = model.read(pixels, [layer], "mean")
        vectors.append(reading.embeddings)
        units.append(reading.activations[layer])
    return np.concatenate(vectors), np.concatenate(units)


def _path(
    model: ImageTextModel, layer: str, vectors: Float32, units: Float32
) -> tuple[Float32, str, float]:
    """`[dim, units]`, how it was found, and the share of the embeddings' variance that it explains."""
    from synesthete.analysis.decomposition.explain import has_linear_path, unit_weights

    target = vectors - vectors.mean(0)
    source = units - units.mean(0)
    if has_linear_path(model, layer):
        route = "exact"
        path = unit_weights(model, layer, np.eye(model.embedding_dim, dtype=np.float32))
    else:
        # Ridge regression in its dual form, for fewer images than units; on standardised units.
        spread = np.where(units.std(0) > 0, units.std(0), 1)
        scaled = source / spread
        kernel = scaled @ scaled.T / scaled.shape[1]
        solved = np.linalg.solve(kernel + RIDGE / len(kernel) * np.eye(len(kernel)), target)
        route = "fitted"
        path = np.asarray((scaled.T @ solved / scaled.shape[1] / spread[:, None]).T)
    predicted = source @ path.T
    power = float((predicted * predicted).sum())
    scale = float((predicted * target).sum()) / power if power > 0 else 0.0
    rest = target - scale * predicted
    explained = 1 - float((rest * rest).sum()) / max(float((target * target).sum()), 1e-12)
    return np.asarray(scale * path, np.float32), route, explained


def _auc(positives: Float32, negatives: Float32) -> Float32:
    """Probability that a positive excites a unit more than a negative, `[units]`; ties count half."""
    from scipy.stats import rankdata

    both = np.concatenate([positives, negatives])
    ranks = rankdata(both, axis=0)[: len(positives)].sum(0)
    least = len(positives) * (len(positives) + 1) / 2
    return np.asarray((ranks - least) / (len(positives) * len(negatives)), np.float32)


def _called(path: Float32, concept_vectors: Float32, concepts: list[str]) -> tuple[list[str], Bool]:
    """Each unit by the concept that it drives the embedding towards the most: a fact of the weights, untested."""
    scores = (concept_vectors - concept_vectors.mean(0)) @ path
    spread = scores.std(0)
    best = scores.argmax(0)
    names = [concepts[b] if s > 0 else "" for b, s in zip(best, spread, strict=True)]
    return names, np.zeros(len(names), bool)


def _from_atlas(
    atlas: Atlas, model: ImageTextModel, layer: str
) -> Mapping[int, tuple[str, bool, bool]]:
    """Per unit: its tested name, whether it answers to words alone, whether its family is about people."""
    theirs = atlas.manifest["model"]
    if theirs["weights_sha256"] != model.weights_sha256:
        raise SynestheteError(
            f"the atlas {atlas.path} is of {theirs['name']} with other weights than {model.name} has here",
            hint="give an atlas of the catalogue's own model, or none",
        )
    found = {}
    for neuron in atlas.neurons(layer):
        others = [auc for kind, auc in neuron.auc.items() if kind != "word" and auc == auc]
        word = neuron.auc.get("word", 0.0)
        written = bool(others) and word >= WRITING_AUC and max(others) < IMAGE_AUC
        name = neuron.name or (neuron.concept if neuron.multimodal else "")
        found[neuron.unit] = (name, written, neuron.family in SENSITIVE)
    return found
