"""Zero-shot classification: class embeddings, and how often a model is right among a probe set's concepts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from scipy.special import softmax

from synesthete._core.arrays import Bool, Float32, Float64, Int64
from synesthete._core.intervals import wilson_interval
from synesthete._core.progress import Progress
from synesthete._core.remote_files import is_url, shown
from synesthete.errors import SynestheteError

TEMPLATES = ("{}", "a photo of a {}", "a drawing of a {}", "an icon of a {}", "the word {}")

LOGIT_SCALE = 100.0  # CLIP's own bound

KEPT = 16  # sets of names whose embeddings are cached; those of 689 names take 1.4 MB

_KEPT: dict[tuple[str | None, tuple[str, ...], tuple[str, ...]], Float32] = {}
_LOCK = threading.Lock()


class _Model(Protocol):
    """What evaluation needs of a model."""

    def preprocess(self, image: Any) -> Any: ...
    def encode_images(self, pixels: Any) -> Float32: ...
    def encode_texts(self, texts: Sequence[str]) -> Float32: ...


def class_embeddings(
    model: _Model,
    names: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
    *,
    keep: bool = True,
) -> Float32:
    """Unit text embeddings of `names`, the mean over `templates`, fp32 `[names, dim]`.

    An LRU cache by the model's weights: hundreds of names take seconds, and a server needs the same ones for every
    request. The array returned is a copy. Without `keep` they do not take the place of others in it: for what somebody types.
    """
    weights = getattr(model, "weights_sha256", None)
    key = (weights, tuple(names), tuple(templates))
    with _LOCK:
        rows = _KEPT.pop(key, None) if weights else None
    if rows is None:
        total = sum(model.encode_texts([t.format(name) for name in names]) for t in templates)
        rows = np.asarray(total, np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    if weights and keep:
        with _LOCK:
            _KEPT[key] = rows
            while len(_KEPT) > KEPT:
                del _KEPT[next(iter(_KEPT))]
    return rows.copy()


def temperature(model: Any) -> float:
    """What a model multiplies cosines by before the softmax; `LOGIT_SCALE` for one without it."""
    scale = getattr(model.network, "logit_scale", None)
    return LOGIT_SCALE if scale is None else float(scale.detach().exp())


def probabilities(embeddings: Float32, classes: Float32, scale: float) -> Float64:
    """Softmax of the cosines of images `[images, dim]` and classes `[classes, dim]` times `scale`, `[images, classes]`."""
    return np.asarray(softmax(scale * (embeddings @ classes.T).astype(np.float64), axis=1))


def ranks_of_truth(images: Float32, classes: Float32, truth: Int64) -> Int64:
    """How many classes an image is nearer to than, or as near as, to its own; `[images]`, 0 is right.

    Ties count against the model, so that one which gives the same scores to all is never right.

    Examples
    --------
    >>> images = np.array([[1.0, 0.0]], np.float32)
    >>> classes = np.array([[0.6, 0.8], [1.0, 0.0]], np.float32)
    >>> ranks_of_truth(images, classes, np.array([0])).tolist()
    [1]
    """
    scores = images @ classes.T
    own = scores[np.arange(len(truth)), truth]
    better: Int64 = (scores >= own[:, None]).sum(1) - 1
    return better


def rates(ranks: Int64, classes: int) -> dict[str, Any]:
    """Top-1 and top-5 rates with 95 % Wilson intervals, beside guessing.

    Examples
    --------
    >>> found = rates(np.array([0, 0, 3, 9]), classes=100)
    >>> found["n"], found["top1"], found["top5"], found["chance"]
    (4, 0.5, 0.75, 0.01)
    """
    out: dict[str, Any] = {"n": len(ranks)}
    for k in (1, 5):
        right = int((ranks < k).sum())
        low, high = wilson_interval(right, len(ranks))
        out[f"top{k}"] = round(right / max(len(ranks), 1), 4)
        out[f"top{k}_interval"] = [round(low, 4), round(high, 4)]
    return out | {
        "chance": round(1 / classes, 5),
        "chance_top5": round(min(5, classes) / classes, 5),
    }


def zero_shot_labels(
    model: _Model,
    probes: Any,
    rows: Sequence[int],
    names: Sequence[str],
    *,
    batch: int = 64,
    progress: Progress | None = None,
) -> dict[int, list[tuple[str, float]]]:
    """The two names nearest to each image, with their cosines.

    Parameters
    ----------
    probes
        A probe set.
    rows
        Ids of its images to label; one that cannot be read gets no label.
    names
        The vocabulary, two names or more.

    Returns
    -------
    dict
        Id → the nearest name and the next, each with its cosine.
    """
    embedded, kept = _embed(model, probes, rows, batch, progress, 0, len(rows))
    if not kept:
        return {}
    scores = embedded @ class_embeddings(model, names).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :2]
    return {
        row: [(names[i], float(score[i])) for i in best]
        for row, score, best in zip(kept, scores, order.tolist(), strict=True)
    }


def held_out_rows(spec: str, table: Any) -> Bool:
    """Which rows of a probe table were held out of the training of `spec`; all of them without `held_out.json`.

    A model's folder, the shipped one's or one of `local-dir:`, lists in `held_out.json` whole artists, or single images by key, per
    modality (`{"drawing": {"artists": ["emojione"]}, "photo": {"keys": [...]}}`).

    Raises
    ------
    SynestheteError
        If `held_out.json` is something else.
    """
    from synesthete.models.sources import read_held_out

    modality, artist, key = (np.array(table[c].to_pylist()) for c in ("modality", "artist", "key"))
    held_out = read_held_out(spec)
    if held_out is None:
        return np.ones(len(modality), bool)
    mask = np.zeros(len(modality), bool)
    for name, part in held_out.items():
        chosen = np.isin(artist, part.get("artists", [])) | np.isin(key, part.get("keys", []))
        mask |= (modality == name) & chosen
    return mask


def unseen_rows(spec: str, probes: Any) -> Bool:
    """Which images of a probe set were held out of the training of `spec`; all of them for other sets than `concepts`.

    `held_out.json` (`held_out_rows`) is about that one.
    """
    if probes.name == "concepts":
        return held_out_rows(spec, probes.labels)
    return np.ones(len(probes), bool)


def _embed(
    model: _Model,
    probes: Any,
    rows: Sequence[int],
    batch: int,
    progress: Progress | None,
    start: int,
    total: int,
) -> tuple[Float32, list[int]]:
    """Embeddings of readable images among `rows`, and their indices."""
    import torch

    parts, kept = [], []
    for begin in range(0, len(rows), batch):
        pixels = []
        for row in rows[begin : begin + batch]:
            try:
                pixels.append(model.preprocess(probes.image(row)))
                kept.append(row)
            except SynestheteError:
                continue
        if pixels:
            parts.append(model.encode_images(torch.stack(pixels)))
        if progress:
            progress(start + min(begin + batch, len(rows)), total)
    return (np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)), kept


def evaluate(
    spec: str,
    probes_spec: str = "concepts",
    *,
    batch: int = 64,
    twin_seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Zero-shot accuracy per modality, among all concepts of the probe set, on images held out of its training
    (all images for a model without `held_out.json`).

    Parameters
    ----------
    spec
        A model's name, as for `load_model`.
    probes_spec
        A probe set's name or path, as for `load_probes`.

    Returns
    -------
    dict
        `model`, `probes`, `classes`, `templates`, and under `modalities`, for each: `n`, `top1`, `top5`,
        their 95 % Wilson intervals, `chance`, and `random_twin` (the same of the randomly initialised control).
    """
    from synesthete.models import load_model
    from synesthete.probes import load_probes

    model, probes = load_model(spec), load_probes(probes_spec, texts=False)
    names = list(probes.concepts)
    # The query of a signed URL is secret.
    probes_spec = shown(probes_spec) if is_url(probes_spec) else probes_spec
    if len(names) < 2:
        raise SynestheteError(
            f"{probes_spec} has {len(names)} concept; classification needs two or more",
            hint="give a probe set of two concepts or more",
        )
    number = {name: i for i, name in enumerate(names)}
    unseen = unseen_rows(spec, probes)
    concept = probes.labels["concept"].to_pylist()
    modality = np.array(probes.labels["modality"].to_pylist())
    candidates = [("trained", model), ("random_twin", model.random_twin(twin_seed))]
    total, done = int(unseen.sum()) * len(candidates), 0
    found: dict[str, dict[str, Any]] = {}
    for label, candidate in candidates:
        classes = class_embeddings(candidate, names)
        for name in probes.modalities:
            rows = np.flatnonzero(unseen & (modality == name)).tolist()
            if not rows:
                continue
            images, kept = _embed(candidate, probes, rows, batch, progress, done, total)
            done += len(rows)
            if not kept:
                continue
            truth = np.array([number[concept[row]] for row in kept])
            result = rates(ranks_of_truth(images, classes, truth), len(names))
            if label == "trained":
                found[name] = result
            else:
                found[name]["random_twin"] = {"top1": result["top1"], "top5": result["top5"]}
    return {
        "model": spec,
        "probes": probes_spec,
        "classes": len(names),
        "templates": list(TEMPLATES),
        "held_out_only": not bool(unseen.all()),
        "modalities": found,
    }
