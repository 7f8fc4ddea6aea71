"""A sparse dictionary of the space that images and texts share: a TopK autoencoder of their embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from synesthete._core.arrays import Bool, Float16, Float32, Floating
from synesthete.analysis.design import tower_of
from synesthete.analysis.dictionary_training import Recipe, Trainer, random_start
from synesthete.analysis.provenance import control_activations
from synesthete.atlas import Atlas
from synesthete.atlas.half import to_half
from synesthete.atlas.manifest import RANDOM_DICTIONARY, WORD_ORDER
from synesthete.errors import SynestheteError
from synesthete.probes.probe_set import text_rows

ROTATED_EMBEDDING = "rotated_embedding"
STEPS, BATCH, RESAMPLED_EVERY = 1200, 256, 200
CHUNK = 4096  # rows encoded at a time
JOINT = "joint"  # the layer that is the embedding
_PARTS = ("encoder", "bias", "decoder", "means", "scale")


@dataclass(frozen=True, kw_only=True)
class Dictionary:
    """A TopK autoencoder (Gao et al. 2024, arXiv 2406.04093): an embedding as a sum of `k` of its latents' directions.

    Attributes
    ----------
    encoder, bias
        `[dim, latents]` and `[latents]`.
    decoder
        `[latents, dim]`, rows of length 1: the directions.
    means
        `[2, dim]`: the mean image and the mean text embedding, taken off before anything else; so the modality gap is no latent.
    scale
        Root mean square length of what is left, which is divided by it.
    k
        Latents that are not zero, at most.
    """

    encoder: Float32
    bias: Float32
    decoder: Float32
    means: Float32
    scale: float
    k: int

    @property
    def latents(self) -> int:
        """How many there are."""
        return len(self.decoder)

    def centred(self, embeddings: Floating, of_text: Bool) -> Float32:
        """`[rows, dim]`: each embedding without the mean of its modality, scaled."""
        off = embeddings.astype(np.float32) - self.means[of_text.astype(int)]
        return np.asarray(off / np.float32(self.scale), np.float32)

    def encode(self, embeddings: Floating, of_text: Bool) -> Float16:
        """Activations `[rows, latents]`, the `k` largest of each row if positive, else 0; NaN for rows that are NaN.

        Parameters
        ----------
        embeddings
            `[rows, dim]`.
        of_text
            `[rows]`: which of them are of texts.
        """
        found = np.full((len(embeddings), self.latents), np.nan, np.float16)
        for start in range(0, len(embeddings), CHUNK):
            rows = start + np.flatnonzero(
                np.isfinite(embeddings[start : start + CHUNK]).all(axis=1)
            )
            values = self.centred(embeddings[rows], of_text[rows]) @ self.encoder + self.bias
            least = np.partition(values, -self.k, axis=1)[:, -self.k, None]
            found[rows] = to_half(np.where((values >= least) & (values > 0), values, 0.0))
        return found

    def packed(self, kind: str = "") -> dict[str, Any]:
        """Its arrays by name, for a safetensors file."""
        return {f"{kind}.{name}": np.asarray(getattr(self, name), np.float32) for name in _PARTS}


def train(
    embeddings: Floating,
    of_text: Bool,
    *,
    latents: int,
    k: int,
    seed: int,
    step: Callable[[], None] = lambda: None,
) -> Dictionary:
    """Train a dictionary by `dictionary_training`; the same arguments give the same one on one machine.

    Parameters
    ----------
    embeddings
        `[rows, dim]`, finite.
    of_text
        `[rows]`.
    step
        Called after each of the `STEPS` steps.
    """
    import torch

    start = untrained(embeddings, of_text, latents=latents, k=k, seed=seed)
    rows = torch.from_numpy(start.centred(embeddings, of_text))
    recipe = Recipe(latents=latents, k=k, seed=seed, resampled_every=RESAMPLED_EVERY)
    trainer = Trainer(start.encoder, start.bias, start.decoder, recipe=recipe)
    for number in range(STEPS):
        batch = rows[torch.randint(len(rows), (BATCH,), generator=trainer.generator)]
        trainer.step(batch, number / STEPS)
        step()
    encoder, bias, decoder = trainer.parts()
    return replace(start, encoder=encoder, bias=bias, decoder=decoder)


def untrained(
    embeddings: Floating, of_text: Bool, *, latents: int, k: int, seed: int
) -> Dictionary:
    """A dictionary of random directions of the same size: where training starts, and its control."""
    encoder, bias, decoder = random_start(embeddings.shape[1], latents, seed)
    means = modality_means(embeddings, of_text)
    left = embeddings.astype(np.float64) - means[of_text.astype(int)]
    return Dictionary(
        encoder=encoder,
        bias=bias,
        decoder=decoder,
        means=means.astype(np.float32),
        scale=float(np.sqrt(np.square(left).sum(axis=1).mean())) or 1.0,
        k=k,
    )


def train_rotated(embeddings: Floating, of_text: Bool, *, seed: int, **settings: Any) -> Dictionary:
    """Train on a random rotation of the embeddings; what it says of *unrotated* embeddings.

    What a dictionary finds does not hang on the model's own dimensions: this one is to do as well.
    """
    dim = embeddings.shape[1]
    basis = np.linalg.qr(np.random.default_rng([seed, 1]).normal(size=(dim, dim)))[0]
    basis = basis.astype(np.float32)
    found = train(embeddings.astype(np.float32) @ basis, of_text, seed=seed, **settings)
    return Dictionary(
        encoder=basis @ found.encoder,
        bias=found.bias,
        decoder=found.decoder @ basis.T,
        means=found.means @ basis.T,
        scale=found.scale,
        k=found.k,
    )


def modality_means(embeddings: Floating, of_text: Bool) -> Floating:
    """The mean image and the mean text embedding `[2, dim]`; of a kind without any, zero."""
    return np.stack([
        embeddings[rows].mean(axis=0, dtype=np.float64) if rows.any() else np.zeros(embeddings.shape[1])
        for rows in (~of_text, of_text)
    ])  # fmt: skip


def modality_gap(embeddings: Floating, of_text: Bool) -> dict[str, float | None]:
    """How far images and texts lie apart (Liang et al. 2022, arXiv 2203.02053).

    Returns
    -------
    dict
        `distance` between the mean image and the mean text embedding, and `variance_share`, the part of the variance of all
        embeddings that knowing the modality explains; None each where there are not both.

    Examples
    --------
    >>> modality_gap(np.array([[0.0, 1.0], [0.0, -1.0], [2.0, 1.0], [2.0, -1.0]]), np.array([False, False, True, True]))
    {'distance': 2.0, 'variance_share': 0.5}
    """
    if of_text.all() or not of_text.any():
        return {"distance": None, "variance_share": None}
    images, texts = modality_means(embeddings, of_text)
    distance = float(np.linalg.norm(images - texts))
    total = np.square(embeddings - embeddings.mean(axis=0, dtype=np.float64)).sum()
    between = distance**2 * (~of_text).sum() * of_text.sum() / len(of_text)
    return {"distance": distance, "variance_share": float(between / total) if total else None}


def quality(
    dictionary: Dictionary, embeddings: Floating, of_text: Bool, held: Bool | None = None
) -> dict[str, Any]:
    """How well a dictionary rebuilds embeddings `[rows, dim]`, and with how many latents.

    Parameters
    ----------
    held
        `[rows]`: which had no part in training; None where that is not known.

    Returns
    -------
    dict
        `explained_variance` of the centred embeddings, also for those `_of_images`, `_of_texts` and `_held_out` (None
        without any), `l0`, the mean number of latents that are not zero, and `dead_share`.
    """
    activations = dictionary.encode(embeddings, of_text).astype(np.float32)
    rows = dictionary.centred(embeddings, of_text)
    missing = np.square(rows - activations @ dictionary.decoder).sum(axis=1, dtype=np.float64)
    there = np.square(rows).sum(axis=1, dtype=np.float64)
    parts = {
        "": np.ones_like(of_text),
        "_of_images": ~of_text,
        "_of_texts": of_text,
        "_held_out": np.zeros_like(of_text) if held is None else held,
    }
    return {
        **{
            f"explained_variance{name}": float(1 - missing[some].sum() / there[some].sum())
            if some.any() and there[some].any()
            else None
            for name, some in parts.items()
        },
        "l0": float((activations > 0).sum(axis=1).mean()),
        "dead_share": float((~(activations > 0).any(axis=0)).mean()),
    }


def dictionary_file(name: str) -> str:
    """Where an atlas keeps a dictionary."""
    return f"dictionaries/{name}.safetensors"


def dictionary_bytes(dictionaries: dict[str, Dictionary]) -> bytes:
    """A safetensors file of dictionaries by kind (`model` and its controls)."""
    packed: dict[str, Any] = {}
    for kind, one in dictionaries.items():
        packed |= one.packed(kind)
    found: bytes = save(packed)
    return found


def read_dictionary(atlas: Atlas, layer: str, kind: str = "model") -> Dictionary:
    """The dictionary of a layer `joint@NAME`, or one of its controls (`random_twin`, `random_dictionary`, `rotated_embedding`).

    Raises
    ------
    SynestheteError
        The layer has none, or its file is damaged.
    """
    name = atlas.layer(layer).get("dictionary")
    if name is None:
        raise SynestheteError(f"{layer} of {atlas.path} is no sparse dictionary")
    file = dictionary_file(name)
    try:
        tensors = load(atlas.dictionary(name))
        parts = {part: tensors[f"{kind}.{part}"] for part in _PARTS}
    except (SafetensorError, KeyError) as error:
        raise SynestheteError(f"{file} of {atlas.path} cannot be read: {error}") from None
    scale = float(parts.pop("scale"))
    return Dictionary(scale=scale, k=int(atlas.manifest["dictionaries"][name]["k"]), **parts)


def joint_rows(atlas: Atlas) -> tuple[Float16, Bool, Bool]:
    """Embeddings of images and texts `[rows, dim]` as layer `joint` has them, which rows are texts, and which have one."""
    embeddings = np.asarray(atlas.activations(JOINT))
    return embeddings, text_rows(atlas.probes), np.isfinite(embeddings).all(axis=1)


def dictionary_controls(atlas: Atlas, layer: str) -> dict[str, Float16]:
    """Latents `[rows, latents]` of dictionaries that a layer's is compared with; nothing for layers that are none.

    Of a layer of the model the recorded ones, of `joint` what they make of the atlas's embeddings: `word_order` of the texts with their
    words shuffled, where those were recorded; `random_dictionary` has random directions, `rotated_embedding` was trained on a random rotation of the space: the first says
    what sparseness alone does, the second that the count does not hang on the model's own dimensions.
    """
    if "dictionary" not in atlas.layer(layer):
        return {}
    if tower_of(atlas, layer) != JOINT:
        recorded = RANDOM_DICTIONARY in atlas.manifest["controls"]
        return (
            {RANDOM_DICTIONARY: atlas.control_activations(RANDOM_DICTIONARY, layer)}
            if recorded
            else {}
        )
    embeddings, of_text, _ = joint_rows(atlas)
    shuffled = control_activations(atlas, JOINT, WORD_ORDER)
    of_model = {} if shuffled is None else {WORD_ORDER: read_dictionary(atlas, layer).encode(shuffled, of_text)}  # fmt: skip
    return of_model | {
        kind: read_dictionary(atlas, layer, kind).encode(embeddings, of_text)
        for kind in (RANDOM_DICTIONARY, ROTATED_EMBEDDING)
    }
