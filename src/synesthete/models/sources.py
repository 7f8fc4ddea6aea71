"""Where a model's configuration and weights come from, and every way in which they can be missing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synesthete.errors import SynestheteError, near
from synesthete.models.hub import (
    PICKLED_WEIGHTS,
    SAFE_WEIGHTS,
    fetch,
    fetch_weights,
    one_line,
    pickle_allowed,
    refuse_pickle,
)

MINI = Path(__file__).parent / "mini"
LOCAL = "local-dir:"
HELD_OUT = "held_out.json"
"""In a model's folder: what of the probe sets its training never saw."""
FORMS = "mini, ARCHITECTURE/TAG, hf-hub:ORG/NAME or local-dir:PATH"
CONFIGURATION = "open_clip_config.json"
PICKLE_SUFFIXES = (".bin", ".pth", ".pt")


@dataclass(frozen=True)
class Source:
    """A model found: enough to build it, fill it and read texts with it.

    Attributes
    ----------
    spec
        What the user asked for.
    open_clip_name
        What open_clip's factory calls it.
    tokenizer_name
        What open_clip's tokenizer factory calls it.
    config
        open_clip's `model_cfg`.
    checkpoint
        File of weights; None for random ones.
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
    open_clip_name: str
    tokenizer_name: str
    config: dict[str, Any]
    checkpoint: Path | None
    architecture: str
    pretrained: str
    seed: int = 0
    quick_gelu: bool = False
    preprocess: dict[str, Any] = field(default_factory=dict)


def folder_of(spec: str) -> Path | None:
    """The folder that the shipped model or one of `local-dir:` lies in; None for models that come from elsewhere.

    Examples
    --------
    >>> folder_of("local-dir:here/mine").name, folder_of("RN50/openai")
    ('mine', None)
    """
    if spec == "mini":
        return MINI
    if spec.startswith(LOCAL):
        return Path(spec.removeprefix(LOCAL)).expanduser()
    return None


def held_out_file(spec: str) -> Path | None:
    """Where the model `spec`, shipped or of `local-dir:`, says what its training left out; None where it does not."""
    folder = folder_of(spec)
    return folder / HELD_OUT if folder is not None and (folder / HELD_OUT).is_file() else None


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
        return _from_folder(spec, MINI, "mini", pickled=False)
    if (folder := folder_of(spec)) is not None:
        return _from_folder(spec, folder, folder.name, pickled=pickled)
    if spec.startswith("hf-hub:"):
        return _from_hub(spec, spec.removeprefix("hf-hub:"), pickled=pickled)
    return _from_open_clip(spec, pickled=pickled)


def _from_folder(spec: str, folder: Path, pretrained: str, *, pickled: bool) -> Source:
    """A folder with `open_clip_config.json` and weights beside it."""
    if not folder.is_dir():
        raise SynestheteError(f"{spec}: there is no such folder", hint="check the path")
    config = _configuration(folder / CONFIGURATION, spec)
    name = f"local-dir:{folder}"
    return Source(
        spec=spec,
        open_clip_name=name,
        tokenizer_name=name,
        config=config,
        checkpoint=_weights_in(folder, spec, pickled=pickled),
        architecture=_shape(config),
        pretrained=pretrained,
    )


def _configuration(path: Path, spec: str) -> dict[str, Any]:
    damaged = f"{spec}: {path.name} "
    hint = "expected what open_clip saves: model_cfg with embed_dim, vision_cfg and text_cfg"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SynestheteError(damaged + "is missing", hint=hint) from error
    except (OSError, ValueError) as error:
        raise SynestheteError(f"{damaged}is damaged: {one_line(error)}", hint=hint) from error
    config = found.get("model_cfg") if isinstance(found, dict) else None
    if not isinstance(config, dict):
        raise SynestheteError(damaged + "has no model_cfg", hint=hint)
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in config]
    if missing:
        raise SynestheteError(f"{damaged}lacks {', '.join(missing)}", hint=hint)
    return config


def _weights_in(folder: Path, spec: str, *, pickled: bool) -> Path:
    """The folder's weights: safetensors first, whatever else lies there."""

    def rank(path: Path) -> tuple[int, str]:
        known = SAFE_WEIGHTS + PICKLED_WEIGHTS
        return known.index(path.name) if path.name in known else len(known), path.name

    files = sorted((path for path in folder.iterdir() if path.is_file()), key=rank)
    for path in files:
        if path.suffix == ".safetensors":
            return path
    for path in files:
        if path.suffix in PICKLE_SUFFIXES:
            if pickled:
                return path
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
    config = _configuration(folder / CONFIGURATION, spec)
    return Source(
        spec=spec,
        # The hub's cache holds the configuration in a folder that open_clip takes as it is.
        open_clip_name=f"local-dir:{folder}",
        tokenizer_name=spec,
        config=config,
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
        "open_clip_name": architecture,
        "tokenizer_name": architecture,
        "config": config,
        "architecture": architecture,
        "pretrained": tag,
    }
    word, _, seed = tag.partition(":")
    if word == "random":
        if seed and not seed.isdecimal():
            raise SynestheteError(f"{spec!r}: the seed {seed!r} is no number", hint="random:0")
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
