"""Provenance: the model and the probe set that an atlas was recorded from, checked to be the same."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from synesthete._core.arrays import Floating
from synesthete.analysis.design import tower_of
from synesthete.atlas import Atlas
from synesthete.atlas.manifest import RANDOM_DICTIONARY
from synesthete.errors import SynestheteError
from synesthete.probes import ProbeSet, load_probes, with_words
from synesthete.probes.builtin import BUILTINS
from synesthete.probes.photos import load_photos
from synesthete.probes.probe_set import ZERO_SHOT

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.models.dictionaries import SparseDictionary
    from synesthete.models.image_text_model import ImageTextModel

RANDOM_TWIN = "random_twin"  # the randomly initialised control, as manifests call it
_LOADING = threading.Lock()


def own_model(atlas: Atlas) -> ImageTextModel:
    """Load the model of an atlas by the name in its manifest.

    Raises
    ------
    SynestheteError
        When it cannot be loaded, or its weights are not those that the atlas was recorded with.
    """
    described = atlas.manifest["model"]
    with _LOADING:  # or every first request of a server would load its own
        model = _loaded(described["name"])
    if model.weights_sha256 != described["weights_sha256"]:
        raise SynestheteError(
            f"{described['name']} has other weights than when {atlas.path} was recorded",
            hint="record the atlas again, or load the model it was made with",
        )
    return model.with_dictionaries(own_dictionaries(atlas))


def own_dictionaries(atlas: Atlas) -> dict[str, SparseDictionary]:
    """The sparse dictionaries of an atlas's layers `LAYER@NAME`, by layer; `joint@NAME` has another form and is not among them."""
    from synesthete.models.dictionary_formats import from_bytes

    return {
        layer: from_bytes(
            atlas.dictionary(name), f"dictionaries/{name}.safetensors of {atlas.path}"
        )
        for layer in atlas.layers
        if (name := atlas.layer(layer).get("dictionary")) and tower_of(atlas, layer) != "joint"
    }


@lru_cache(maxsize=1)
def _loaded(name: str) -> ImageTextModel:
    """The last model is kept: a server, or a loop over neurons, loads the same one again and again."""
    from synesthete.models import load_model

    return load_model(name)


def own_probes(atlas: Atlas, spec: ProbeSet | str | Path | None = None) -> ProbeSet:
    """Open the probe set of an atlas.

    Parameters
    ----------
    spec
        The set, or where it is, as for `load_probes`; by default what the atlas calls it. If the atlas has more images, the
        words are drawn that `record` adds.

    Raises
    ------
    SynestheteError
        When it cannot be opened, or has other images than those that were recorded.
    """
    try:
        return _as_recorded(atlas, spec)
    except SynestheteError:
        given = atlas.manifest["probes"]["name"] if spec is None else spec
        if isinstance(given, ProbeSet) or not (photos := _own_photos(atlas, Path(given))):
            raise
        return photos


def _as_recorded(atlas: Atlas, spec: ProbeSet | str | Path | None) -> ProbeSet:
    described = atlas.manifest["probes"]
    given = described["name"] if spec is None else spec
    try:
        # An atlas may come from anybody: what it names is looked for on this machine only.
        own = spec is not None
        probes = given if isinstance(given, ProbeSet) else load_probes(given, remote=own)
    except SynestheteError as error:
        if spec is not None:
            raise
        raise SynestheteError(
            f"the probe set {described['name']!r} of {atlas.path} was not found",
            hint="give its place: --probes FOLDER",
        ) from error
    # What a recording left out, since none of its layers reads it, and the words that it drew.
    texts = int(described.get("texts", 0))
    read = {"images": texts < described["images"], "texts": texts > 0}
    recorded = probes.part(**read)
    if len(recorded) < described["images"]:
        recorded = with_words(probes).part(**read)
    probes = recorded
    if probes.fingerprint != described["fingerprint"]:
        raise SynestheteError(
            f"{probes.name} has other images than {atlas.path} was recorded from",
            hint="give the very set that was recorded",
        )
    return probes


def photo_of(atlas: Atlas, number: int) -> Image.Image:
    """An image of an atlas as large as it is at hand: in full from a built-in probe set, else its thumbnail."""
    return own_image(atlas, number) if can_show(atlas) else atlas.thumbnail(number)


def can_show(atlas: Atlas) -> bool:
    """Whether the atlas was recorded from a built-in probe set; of others it keeps thumbnails only."""
    return atlas.manifest["probes"]["name"] in BUILTINS


def own_image(atlas: Atlas, number: int) -> Image.Image:
    """An image of a built-in probe set, in full; checked to be the one that was recorded.

    Raises
    ------
    SynestheteError
        The atlas was recorded from other images than are available.
    """
    if not can_show(atlas):
        raise SynestheteError(
            "the atlas keeps thumbnails of its images only", hint="send the image itself"
        )
    name = str(atlas.manifest["probes"]["name"])
    probes = _built_in(name)
    # This image alone: to hash all of them takes seconds.
    there = number < len(probes) and not probes.is_text[number]
    recorded = atlas.probes["sha256"][number].as_py()
    if not there or probes.source.digest(int(probes.rows[number])) != recorded:
        raise SynestheteError(
            f"the atlas was recorded from another version of {name}", hint="record it again"
        )
    return probes.image(number)


@lru_cache(maxsize=1)
def _built_in(name: str) -> ProbeSet:
    return load_probes(name, remote=False)


def _own_photos(atlas: Atlas, folder: Path) -> ProbeSet | None:
    """A folder that `synesthete look` was shown, with the labels that the atlas has of it; None where the folder is another."""
    described = atlas.manifest["probes"]
    if not folder.is_dir():
        return None
    columns = (atlas.probes[name].to_pylist() for name in ("key", "concept", "caption"))
    labels = {
        key: (concept, caption)
        for key, concept, caption in zip(*columns, strict=True)
        if concept.endswith(ZERO_SHOT)
    }
    try:
        photos = load_photos(folder, labels)
    except SynestheteError:  # no photos in it: `load_probes` says what is wrong with the folder
        return None
    same = len(photos) == described["images"] and photos.fingerprint == described["fingerprint"]
    return photos if same else None


def twin_activations(atlas: Atlas, layer: str) -> dict[str, Floating]:
    """Activations `[images, units]` of every control that was recorded beside the model, by its name."""
    folder = atlas.layer(layer)["folder"]
    return {
        name: atlas.control_activations(name, layer)
        for name in atlas.manifest["controls"]
        if name != RANDOM_DICTIONARY
        and f"controls/{name}/layers/{folder}/activations.npy" in atlas.manifest["files"]
    }


def control_activations(atlas: Atlas, layer: str, control: str = RANDOM_TWIN) -> Floating | None:
    """Activations `[images, units]` of a control, the randomly initialised one by default; None for an atlas without it."""
    if control not in atlas.manifest["controls"]:
        return None
    return atlas.control_activations(control, layer)
