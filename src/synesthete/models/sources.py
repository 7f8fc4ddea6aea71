"""Where a model's configuration and weights come from, and every way in which they can be missing."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from synesthete._core.json_reader import InvalidJson, read_json
from synesthete._core.user_files import UnusableFile, resolve_inside
from synesthete.errors import SynestheteError, near
from synesthete.models.configuration import CONFIGURATION, read_configuration
from synesthete.models.hub import (
    PICKLED_WEIGHTS,
    SAFE_WEIGHTS,
    fetch,
    fetch_weights,
    pickle_allowed,
    refuse_pickle,
    root_of,
)

MINI = Path(__file__).parent / "mini"
LOCAL = "local-dir:"
HELD_OUT = "held_out.json"
"""In a model's folder: what of the probe sets its training never saw."""
FORMS = "mini, ARCHITECTURE/TAG, hf-hub:ORG/NAME or local-dir:PATH"
PICKLE_SUFFIXES = (".bin", ".pth", ".pt")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model found: enough to build it, fill it and read texts with it.

    Attributes
    ----------
    spec
        What the user asked for.
    config
        open_clip's `model_cfg`, checked where it is not open_clip's own.
    checkpoint
        File of weights; None for random ones.
    folder
        The user's folder that it is in; None for models of open_clip and of the hub.
    trusted
        The configuration comes with a package and not with the weights.
    seed
        Of random weights.
    quick_gelu
        The weights were trained with QuickGELU although the architecture's name does not say so.
    preprocess
        Preprocessing that goes with the weights.
    architecture, pretrained
        For the description.
    """

    spec: str
    config: dict[str, Any]
    checkpoint: Path | None
    architecture: str
    pretrained: str
    folder: Path | None = None
    trusted: bool = False
    seed: int = 0
    quick_gelu: bool = False
    preprocess: dict[str, Any] = field(default_factory=dict)


def folder_of(spec: str) -> Path | None:
    """The folder that the shipped model or one of `local-dir:` is in; None for models that come from elsewhere.

    Examples
    --------
    >>> folder_of("local-dir:here/mine").name, folder_of("RN50/openai")
    ('mine', None)
    """
    if spec == "mini":
        return MINI
    if spec.startswith(LOCAL):
        return Path(os.path.expanduser(spec.removeprefix(LOCAL)))  # noqa: PTH111 (never raises)
    return None


def held_out_file(spec: str) -> Path | None:
    """Where the model `spec`, shipped or of `local-dir:`, says what its training left out; None where it does not."""
    folder = folder_of(spec)
    return folder / HELD_OUT if folder is not None and (folder / HELD_OUT).is_file() else None


def read_held_out(spec: str) -> dict[str, dict[str, list[str]]] | None:
    """What `held_out_file` says, by modality: `artists` or `keys`; None where it does not.

    Raises
    ------
    SynestheteError
        If the file leads out of the model's folder, or says something else.
    """
    file = held_out_file(spec)
    if file is None:
        return None
    try:
        found = read_json(file, root=root_of(file.parent))
    except InvalidJson:
        found = None
    except UnusableFile as error:
        raise SynestheteError(f"{spec}: {error.message}", hint=error.hint) from None
    if (
        isinstance(found, dict)
        and all(isinstance(part, dict) for part in found.values())
        and all(isinstance(names, list) for part in found.values() for names in part.values())
        and all(
            isinstance(name, str)
            for part in found.values()
            for names in part.values()
            for name in names
        )
    ):
        return found
    raise SynestheteError(
        f"{file} does not say what was held out",
        hint='artists or keys by modality: {"drawing": {"artists": ["emojione"]}}',
    )


def resolve(spec: str, *, allow_pickle: bool | None = None) -> Source:
    """Find configuration and weights of `spec`, fetching them from the hub where needed.

    Raises
    ------
    SynestheteError
        If there is no such model, or its files are missing, damaged, pickled or out of reach.
    """
    pickled = pickle_allowed() if allow_pickle is None else allow_pickle
    if spec == "mini":
        if not (MINI / CONFIGURATION).is_file():
            raise SynestheteError(
                "the shipped model mini is missing from this installation",
                hint="install the package again, or name another model: " + FORMS,
            )
        return replace(_from_folder(spec, MINI, "mini", pickled=False), trusted=True)
    if (folder := folder_of(spec)) is not None:
        return _from_folder(spec, folder, folder.name, pickled=pickled)
    if spec.startswith("hf-hub:"):
        return _from_hub(spec, spec.removeprefix("hf-hub:"), pickled=pickled)
    return _from_open_clip(spec, pickled=pickled)


def _from_folder(spec: str, folder: Path, pretrained: str, *, pickled: bool) -> Source:
    """A folder with `open_clip_config.json` and weights beside it."""
    try:
        if not folder.is_dir():
            raise SynestheteError(f"{spec}: there is no such folder", hint="check the path")
        config, preprocess = read_configuration(folder, spec)
        checkpoint = _weights_in(folder, spec, pickled=pickled)
    except OSError as error:
        raise SynestheteError(
            f"{spec[:200]}: the folder cannot be read: {error.strerror}", hint="check the path"
        ) from None
    return Source(
        spec=spec,
        config=config,
        preprocess=preprocess,
        checkpoint=checkpoint,
        architecture=_shape(config),
        pretrained=pretrained,
        folder=folder,
    )


def _weights_in(folder: Path, spec: str, *, pickled: bool) -> Path:
    """The folder's weights: safetensors first, whatever else lies there."""

    def rank(path: Path) -> tuple[int, str]:
        known = SAFE_WEIGHTS + PICKLED_WEIGHTS
        return known.index(path.name) if path.name in known else len(known), path.name

    def inside(path: Path) -> Path:
        # open_clip goes by the suffix, which the file that a link leads to need not have.
        try:
            resolve_inside(root_of(folder), path)
        except UnusableFile as error:
            raise SynestheteError(f"{spec}: {error.message}", hint=error.hint) from None
        return path

    files = sorted((path for path in folder.iterdir() if path.is_file()), key=rank)
    for path in files:
        if path.suffix == ".safetensors":
            return inside(path)
    for path in files:
        if path.suffix in PICKLE_SUFFIXES:
            if pickled:
                return inside(path)
            raise refuse_pickle(spec)
    raise SynestheteError(
        f"{spec}: there are no weights in the folder", hint=f"expected {SAFE_WEIGHTS[0]}"
    )


def _from_hub(spec: str, repository: str, *, pickled: bool) -> Source:
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise SynestheteError(
            f"{spec!r} names no model of the hub", hint="expected hf-hub:ORG/NAME"
        )
    folder = fetch(spec, repository, CONFIGURATION).parent
    config, preprocess = read_configuration(folder, spec)
    return Source(
        spec=spec,
        config=config,
        preprocess=preprocess,
        checkpoint=fetch_weights(spec, repository, "", pickled=pickled),
        architecture=_shape(config),
        pretrained=repository,
    )


def _from_open_clip(spec: str, *, pickled: bool) -> Source:
    """One of open_clip's architectures, with pretrained or random weights."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    path, _, tag = spec.rpartition("/")
    # open_clip itself accepts "ViT-B/32" for "ViT-B-32".
    architecture = path.replace("/", "-")
    config = open_clip.get_model_config(architecture) if architecture else None
    if config is None:
        raise _no_such_model(spec)
    common: dict[str, Any] = {
        "spec": spec,
        "config": config,
        "architecture": architecture,
        "pretrained": tag,
        "trusted": True,
    }
    word, _, seed = tag.partition(":")
    if word == "random":
        if seed and not seed.isdecimal():
            raise SynestheteError(f"{spec!r}: the seed {seed!r} is not a number", hint="random:0")
        return Source(**common, checkpoint=None, seed=int(seed or 0))
    settings = get_pretrained_cfg(architecture, tag)
    if not settings:
        tags = [*open_clip.list_pretrained_tags_by_model(architecture), "random"]
        hint = "; ".join(filter(None, [near(tag, tags), "it has " + ", ".join(tags)]))
        raise SynestheteError(f"open_clip has no weights {tag!r} for {architecture}", hint=hint)
    repository, _, filename = str(settings.get("hf_hub", "")).rpartition("/")
    return Source(
        **common,
        checkpoint=fetch_weights(
            spec, repository, filename, pickled=pickled, url=str(settings.get("url", ""))
        ),
        quick_gelu=bool(settings.get("quick_gelu", False)),
        preprocess={
            key: settings[key]
            for key in ("mean", "std", "interpolation", "resize_mode", "fill_color")
            if key in settings
        },
    )


def _no_such_model(spec: str) -> SynestheteError:
    import open_clip

    known = ["mini", *(f"{name}/{tag}" for name, tag in open_clip.list_pretrained())]
    with_tags = [name for name in known if name.lower().startswith(spec.lower() + "/")]
    if with_tags or spec in open_clip.list_models():
        choice = ", ".join([*with_tags, f"{spec}/random"])
        return SynestheteError(f"{spec!r} names no weights", hint="expected " + choice)
    if spec and Path(spec).expanduser().is_dir():
        return SynestheteError(f"no such model {spec!r}", hint=f"a folder is local-dir:{spec}")
    parts = [near(spec, known), f"expected {FORMS}", "`synesthete models list` names them all"]
    return SynestheteError(f"no such model {spec!r}", hint="; ".join(filter(None, parts)))


def _shape(config: dict[str, Any]) -> str:
    """A few words for an architecture that has no name."""
    vision = config["vision_cfg"] if isinstance(config["vision_cfg"], dict) else {}
    if vision.get("timm_model_name"):
        return str(vision["timm_model_name"])
    layers, width = vision.get("layers"), vision.get("width")
    if isinstance(layers, list):
        return f"ModifiedResNet {'-'.join(map(str, layers))} width {width}"
    return f"VisionTransformer {layers} layers width {width} patch {vision.get('patch_size')}"


def list_models() -> list[dict[str, Any]]:
    """Mini, and every pretrained model that open_clip knows.

    Returns
    -------
    list of dict
        Per model `name` (what `load_model` takes), `architecture`, `pretrained`, `image_tower`,
        `image_size` (pixels), `embedding_dim`, `default_layers` (empty for timm towers, whose layers
        are known only after building) and `shipped` (whether it needs no download).

    Examples
    --------
    >>> names = [model["name"] for model in list_models()]
    >>> "RN50x4/openai" in names
    True
    """
    import open_clip

    models = []
    if (MINI / CONFIGURATION).is_file():
        mini = resolve("mini")
        models.append(
            _row("mini", mini.architecture, mini.pretrained, mini.config) | {"shipped": True}
        )
    configs: dict[str, dict[str, Any]] = {}
    for architecture, tag in open_clip.list_pretrained():
        if architecture not in configs:
            configs[architecture] = open_clip.get_model_config(architecture) or {}
        name = f"{architecture}/{tag}"
        models.append(_row(name, architecture, tag, configs[architecture]) | {"shipped": False})
    return models


def _row(name: str, architecture: str, pretrained: str, config: dict[str, Any]) -> dict[str, Any]:
    vision: dict[str, Any] = config.get("vision_cfg", {})
    layers = vision.get("layers", 12)
    if vision.get("timm_model_name"):
        tower, defaults = str(vision["timm_model_name"]), []
    elif isinstance(layers, list):
        tower, defaults = "ModifiedResNet", [f"visual.layer4.{layers[-1] - 1}"]
    else:
        tower, defaults = "VisionTransformer", [f"visual.transformer.resblocks.{layers - 1}.mlp"]
    return {
        "name": name,
        "architecture": architecture,
        "pretrained": pretrained,
        "image_tower": tower,
        "image_size": vision.get("image_size", 224),
        "embedding_dim": config.get("embed_dim"),
        "default_layers": defaults,
    }
