"""Where a model's configuration and weights come from, and every way in which they can be missing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete._core.json_reader import InvalidJson, read_json
from synesthete._core.user_files import UnusableFile, resolve_inside
from synesthete.errors import SynestheteError, near
from synesthete.models.archives import read_archive, shape_of_clip
from synesthete.models.configuration import (
    CONFIGURATION,
    RefusedSetting,
    check_model,
    check_timm,
    read_configuration,
)
from synesthete.models.hub import (
    PICKLED_WEIGHTS,
    SAFE_WEIGHTS,
    cached,
    fetch,
    fetch_weights,
    pickle_allowed,
    refuse_pickle,
    root_of,
)
from synesthete.models.names import (
    FORMS,
    HF_DIR,
    HUB,
    LIBRARIES,
    LOCAL,
    WRAPPED,
    architectures,
    canonical,
    configuration_of,
    nearest,
    no_such_model,
    pretrained,
    split_file,
)
from synesthete.models.transformers_clip import (
    CONFIG,
    INDEX,
    PREPROCESSOR,
    PROCESSOR,
    read_json_object,
    read_transformers,
    require_transformers,
    shards,
    type_of,
)

if TYPE_CHECKING:
    import torch

MINI = Path(__file__).parent / "mini"
HELD_OUT = "held_out.json"
"""In a model's folder: what of the probe sets its training never saw."""
# Beside the weights: tables that are computed, and initial values that are drawn on the way.
SPARE_ELEMENTS = 1 << 26
PICKLE_SUFFIXES = (".bin", ".pth", ".pt")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model found: enough to build it, fill it and read texts with it.

    Attributes
    ----------
    spec
        What the user asked for, in the form that `canonical` gives it.
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
    weights
        Reads `checkpoint` where open_clip does not.
    library
        What builds the network: `open_clip`, `transformers`, `timm` or `torchvision`; `config` is then that library's.
    files
        All files of the weights, of a model that is not of open_clip.
    repository
        Of the hub, whose other files can be fetched when they are needed.
    converted
        A CLIP in transformers' format, whose weights are renamed for open_clip's network.
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
    weights: Callable[[], dict[str, torch.Tensor]] | None = None
    library: str = "open_clip"
    files: tuple[Path, ...] = ()
    repository: str = ""
    converted: bool = False

    @property
    def limit(self) -> int:
        """How many numbers its network may have: each stands in its weights, in a byte at least."""
        return sum(file.stat().st_size for file in self.files) + SPARE_ELEMENTS


def folder_of(spec: str) -> Path | None:
    """The folder that the shipped model or one of `local-dir:` or `hf-dir:` is in; None for models that come from elsewhere.

    Examples
    --------
    >>> folder_of("local-dir:here/mine").name, folder_of("RN50/openai")
    ('mine', None)
    """
    name = canonical(spec)
    if name == "mini":
        return MINI
    for prefix in (LOCAL, HF_DIR):
        if name.startswith(prefix):
            return Path(os.path.expanduser(name.removeprefix(prefix)))  # noqa: PTH111 (never raises)
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
    spec = canonical(spec)
    if spec == "mini":
        if not (MINI / CONFIGURATION).is_file():
            raise SynestheteError(
                "the shipped model mini is missing from this installation",
                hint="install the package again, or name another model: " + FORMS,
            )
        return replace(_from_folder(spec, MINI, "mini", pickled=False), trusted=True)
    if (folder := folder_of(spec)) is not None:
        return _from_folder(spec, folder, folder.name, pickled=pickled)
    if spec.startswith(HUB):
        return _from_hub(spec, spec.removeprefix(HUB), pickled=pickled)
    if spec.startswith(LIBRARIES):
        return _from_library(spec)
    if spec.startswith(WRAPPED):
        raise SynestheteError(
            f"{spec} was wrapped by a program of yours, and only that program can run it",
            hint="wrap the module again, and pass the model itself",
        )
    if (named := split_file(spec)) is not None:
        return _from_file(spec, *named)
    return _from_open_clip(spec, pickled=pickled)


def weights_here(spec: str) -> bool:
    """Whether a model's weights are on this machine, as far as can be said without loading it; nothing is fetched.

    Examples
    --------
    >>> weights_here("RN50/random"), weights_here("local-dir:/nowhere")
    (True, False)
    """
    try:
        name = canonical(spec)
        by_name = not (
            folder_of(name) or split_file(name) or name.startswith((*LIBRARIES, WRAPPED))
        )
        architecture, _, tag = name.rpartition("/")
        if name.startswith(HUB):
            return _any_cached(name.removeprefix(HUB), (*SAFE_WEIGHTS, *PICKLED_WEIGHTS, INDEX))
        if by_name and tag.partition(":")[0] != "random":
            tags = pretrained().get(architecture.replace("/", "-"), {})
            found = tags.get(tag.lower().replace("-", "_"))
            if found is None or not found.repository:
                return False
            safe = str(Path(found.filename).with_suffix(".safetensors")) if found.filename else ""
            named = (safe, found.filename) if safe else (*SAFE_WEIGHTS, *PICKLED_WEIGHTS)
            return _any_cached(found.repository, named)
        source = resolve(name)
    except SynestheteError:
        return False
    return source.checkpoint is not None or source.pretrained.startswith("random")


def _any_cached(repository: str, names: Sequence[str]) -> bool:
    return any(cached(repository, name) is not None for name in names)


def _from_folder(spec: str, folder: Path, pretrained: str, *, pickled: bool) -> Source:
    """A folder with `open_clip_config.json` or `config.json`, and weights beside it."""
    try:
        if not folder.is_dir():
            raise SynestheteError(f"{spec}: there is no such folder", hint="check the path")
        if spec.startswith(HF_DIR) or (
            not os.path.lexists(folder / CONFIGURATION) and os.path.lexists(folder / CONFIG)
        ):
            return _in_transformers_format(spec, folder, pretrained)
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
    try:
        if cached(repository, CONFIG) is not None and cached(repository, CONFIGURATION) is None:
            return _from_hub_transformers(spec, repository)
        folder = fetch(spec, repository, CONFIGURATION).parent
    except SynestheteError as error:
        if hint := nearest(repository):
            error.hint = f"{hint}; {error.hint}"
        if not _missing(error):
            raise
        try:
            return _from_hub_transformers(spec, repository)
        except SynestheteError as second:
            raise (error if _missing(second) else second) from second.__cause__
    config, preprocess = read_configuration(folder, spec)
    return Source(
        spec=spec,
        config=config,
        preprocess=preprocess,
        checkpoint=fetch_weights(spec, repository, "", pickled=pickled),
        architecture=_shape(config),
        pretrained=repository,
    )


def _missing(error: SynestheteError) -> bool:
    """Whether the hub's repository lacks the file."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    return isinstance(error.__cause__, RemoteEntryNotFoundError)


def _from_hub_transformers(spec: str, repository: str) -> Source:
    """A repository of the hub in transformers' format."""
    folder = fetch(spec, repository, CONFIG).parent
    if (of_timm := read_timm(folder, spec)) is not None:
        file = fetch(spec, repository, SAFE_WEIGHTS[1])
        return _by_timm(spec, folder, file, repository, of_timm)
    kind = type_of(folder, spec)
    if kind != "clip":
        require_transformers(spec, kind)
        _fetch_first(spec, repository, PREPROCESSOR, PROCESSOR)
        files = tuple(_fetch_safetensors(spec, repository))
        return _by_transformers(spec, folder, files, repository, repository=repository)
    read_transformers(folder, spec)
    _fetch_first(spec, repository, PREPROCESSOR, PROCESSOR)
    try:
        file = fetch(spec, repository, SAFE_WEIGHTS[1])
    except SynestheteError as error:
        if not _missing(error):
            raise
        hint = "weights in several files or as a pickle are not read there"
        raise SynestheteError(
            f"{spec}: the hub's {repository} has no {SAFE_WEIGHTS[1]}",
            hint="; ".join(filter(None, [nearest(repository), hint])),
        ) from None
    return _transformers(spec, folder, file, repository, repository=repository)


def _fetch_first(spec: str, repository: str, *names: str) -> Path | None:
    """The first of several files that a repository has; the hub is not asked about the others where one is in its cache."""
    for name in names:
        if (found := cached(repository, name)) is not None:
            return found
    for name in names:
        try:
            return fetch(spec, repository, name)
        except SynestheteError as error:
            if not _missing(error):
                raise
    return None


def _fetch_safetensors(spec: str, repository: str) -> Iterator[Path]:
    """The weights of a repository in transformers' format, in one file or in several."""
    index = _fetch_first(spec, repository, SAFE_WEIGHTS[1], INDEX)
    if index is None:
        raise SynestheteError(
            f"{spec}: the hub's {repository} has no {SAFE_WEIGHTS[1]}",
            hint=nearest(repository) or "weights as a pickle are not read there",
        )
    yield index
    if index.name != INDEX:
        return
    for name in shards(index, root_of(index.parent), spec):
        yield fetch(spec, repository, name)


def _in_transformers_format(spec: str, folder: Path, pretrained: str) -> Source:
    """A user's folder with transformers' `config.json`, or timm's."""
    if (of_timm := read_timm(folder, spec)) is not None:
        file = _weights_in(folder, spec, pickled=False)
        return _by_timm(spec, folder, file, pretrained, of_timm)
    kind = type_of(folder, spec)
    if kind == "clip":
        return _transformers(spec, folder, _weights_in(folder, spec, pickled=False), pretrained)
    require_transformers(spec, kind)
    files = [folder / INDEX]
    if os.path.lexists(folder / SAFE_WEIGHTS[1]) or not os.path.lexists(folder / INDEX):
        files = [_weights_in(folder, spec, pickled=False)]
    else:
        files += [folder / name for name in shards(folder / INDEX, root_of(folder), spec)]
        for file in files:
            try:
                resolve_inside(root_of(folder), file)
            except UnusableFile as error:
                raise SynestheteError(f"{spec}: {error.message}", hint=error.hint) from None
    return _by_transformers(spec, folder, tuple(files), pretrained)


def read_timm(folder: Path, spec: str) -> dict[str, Any] | None:
    """What a `config.json` of timm says, checked; None for one of transformers."""
    found = read_json_object(folder, CONFIG, spec)
    if "model_type" in found or "architecture" not in found:
        return None
    try:
        return check_timm(found)
    except RefusedSetting as error:
        raise SynestheteError(
            f"{spec} cannot be built: {error}", hint=f"check its {CONFIG}"
        ) from None


def _by_timm(
    spec: str, folder: Path, file: Path, pretrained: str, config: dict[str, Any]
) -> Source:
    return Source(
        spec=spec,
        config=config,
        checkpoint=file,
        architecture=str(config["architecture"]),
        pretrained=pretrained,
        folder=folder,
        library="timm",
        files=(file,),
    )


def _by_transformers(
    spec: str, folder: Path, files: tuple[Path, ...], pretrained: str, repository: str = ""
) -> Source:
    """A model that transformers itself builds; its settings are checked when it is there to say which it has."""
    config = read_json_object(folder, CONFIG, spec)
    return Source(
        spec=spec,
        config=config,
        checkpoint=files[0],
        architecture=str(config["model_type"]),
        pretrained=pretrained,
        folder=folder,
        library="transformers",
        files=files,
        repository=repository,
    )


def _transformers(
    spec: str, folder: Path, checkpoint: Path, pretrained: str, repository: str = ""
) -> Source:
    """What transformers saved, for open_clip's network."""

    def weights() -> dict[str, torch.Tensor]:
        from safetensors.torch import load_file

        from synesthete.models.transformers_clip import to_open_clip

        return to_open_clip(load_file(checkpoint))

    config, preprocess = read_transformers(folder, spec)
    return Source(
        spec=spec,
        config=config,
        preprocess=preprocess,
        checkpoint=checkpoint,
        architecture=_shape(config),
        pretrained=pretrained,
        folder=folder,
        weights=weights,
        repository=repository,
        converted=True,
    )


def _from_file(spec: str, architecture: str, file: Path) -> Source:
    """A file of weights, for an architecture of open_clip or for the one that its shapes tell."""
    if architecture and (config := configuration_of(architecture)) is None:
        raise SynestheteError(
            f"{spec}: open_clip has no architecture {architecture[:80]!r}",
            hint=near(architecture, architectures()) or "such as ViT-B-32@FILE",
        )
    if not file.is_file():
        raise SynestheteError(f"{spec}: there is no such file", hint="check the path")
    weights, quick_gelu = None, False
    if file.suffix.lower() == ".safetensors":
        shapes = {} if architecture else _shapes(file)
    else:
        archive = read_archive(file)
        weights, shapes = archive.tensors, archive.shapes
        quick_gelu = archive.openai
    if not architecture:
        config = shape_of_clip(shapes, file)
        try:
            check_model(config)
        except RefusedSetting as error:
            raise SynestheteError(
                f"{spec} cannot be built: {error}", hint="check the file"
            ) from None
    assert config is not None
    return Source(
        spec=spec,
        config=config,
        preprocess=_usual_preprocessing(architecture),
        checkpoint=file,
        architecture=architecture or _shape(config),
        pretrained=file.name,
        trusted=bool(architecture),
        quick_gelu=quick_gelu,
        weights=weights,
    )


def _from_library(spec: str) -> Source:
    """A model that timm, torchvision or transformers knows by name, with its own, a file's or random weights."""
    library, _, rest = spec.partition(":")
    name, at, path = rest.partition("@")
    name, _, tag = name.partition("/")
    word, _, seed = tag.partition(":")
    if not re.fullmatch(r"[\w.-]{1,128}", name, re.ASCII) or (seed and not seed.isdecimal()):
        raise SynestheteError(
            f"{spec[:200]!r} names no model of {library}",
            hint=f"{library}:NAME/random:0, {library}:NAME@FILE",
        )
    file = Path(path).expanduser() if at else None
    if file is not None and not file.is_file():
        raise SynestheteError(f"{spec}: there is no such file", hint="check the path")
    if library == "transformers":
        if word != "random" or file is not None:
            raise SynestheteError(
                f"{spec[:200]!r} names no weights",
                hint=f"transformers:{name}/random, or hf-hub:ORG/NAME",
            )
        require_transformers(spec, name)
    config = {"model_type": name} if library == "transformers" else {}
    return Source(
        spec=spec,
        config=config,
        checkpoint=file,
        architecture=name,
        pretrained=file.name if file is not None else tag or "DEFAULT",
        trusted=True,
        seed=int(seed or 0),
        library=library,
        files=() if file is None else (file,),
    )


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise SynestheteError(
            f"{file.name} cannot be read: {error}",
            hint="the file is damaged: fetch or copy it again",
        ) from None


def _from_open_clip(spec: str, *, pickled: bool) -> Source:
    """One of open_clip's architectures, with pretrained or random weights."""
    path, _, tag = spec.rpartition("/")
    # open_clip itself accepts "ViT-B/32" for "ViT-B-32".
    architecture = path.replace("/", "-")
    config = configuration_of(architecture) if architecture else None
    if config is None:
        raise no_such_model(spec)
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
    known = pretrained().get(architecture, {})
    # As open_clip reads tags.
    found = known.get(tag.lower().replace("-", "_"))
    if found is None:
        tags = [*known, "random"]
        hint = "; ".join(filter(None, [near(tag, tags), "it has " + ", ".join(tags)]))
        raise SynestheteError(f"open_clip has no weights {tag!r} for {architecture}", hint=hint)
    checkpoint = fetch_weights(
        spec, found.repository, found.filename, pickled=pickled, url=found.url
    )
    # From here on torch is needed anyway.
    from open_clip.pretrained import get_pretrained_cfg

    settings = get_pretrained_cfg(architecture, tag)
    return Source(
        **common,
        checkpoint=checkpoint,
        quick_gelu=bool(settings.get("quick_gelu", False)),
        preprocess=_preprocessing(settings),
    )


def _preprocessing(settings: dict[str, Any]) -> dict[str, Any]:
    """Of open_clip's settings of pretrained weights, those of the images."""
    names = ("mean", "std", "interpolation", "resize_mode", "fill_color")
    return {name: settings[name] for name in names if name in settings}


def _usual_preprocessing(architecture: str) -> dict[str, Any]:
    """What all pretrained weights of an architecture agree on, as SigLIP's do; else open_clip's own."""
    tags = pretrained().get(architecture, {})
    if not tags:
        return {}
    from open_clip.pretrained import get_pretrained_cfg

    first, *others = (_preprocessing(get_pretrained_cfg(architecture, tag)) for tag in tags)
    return first if all(one == first for one in others) else {}


def _shape(config: dict[str, Any]) -> str:
    """A few words for an architecture that has no name."""
    vision = config["vision_cfg"] if isinstance(config["vision_cfg"], dict) else {}
    if vision.get("timm_model_name"):
        return str(vision["timm_model_name"])
    layers, width = vision.get("layers"), vision.get("width")
    if isinstance(layers, list):
        return f"ModifiedResNet {'-'.join(map(str, layers))} width {width}"
    return f"VisionTransformer {layers} layers width {width} patch {vision.get('patch_size')}"


def list_models(family: str | None = None) -> list[dict[str, Any]]:
    """Mini, and every pretrained model that open_clip knows.

    Parameters
    ----------
    family
        Only those whose name or image tower has this in it, such as `RN`, `SigLIP` or `convnext`, in any case; or `timm` or
        `torchvision`, whose models of images only are listed instead.

    Returns
    -------
    list of dict
        Per model `name` (what `load_model` takes), `architecture`, `pretrained`, `image_tower`,
        `image_size` (pixels), `embedding_dim`, `default_layers` (empty for timm towers, whose layers
        are known only after building) and `shipped` (whether it needs no download).

    Raises
    ------
    SynestheteError
        No model is of the family.

    Examples
    --------
    >>> names = [model["name"] for model in list_models()]
    >>> "RN50x4/openai" in names
    True
    """
    if family in LISTS:
        return [_of_images(family, name) for name in LISTS[family]()]
    models = []
    if (MINI / CONFIGURATION).is_file():
        mini = resolve("mini")
        models.append(
            _row("mini", mini.architecture, mini.pretrained, mini.config) | {"shipped": True}
        )
    for architecture, tags in pretrained().items():
        config = configuration_of(architecture) or {}
        models += [
            _row(f"{architecture}/{tag}", architecture, tag, config) | {"shipped": False}
            for tag in tags
        ]
    if family is None:
        return models
    part = family.lower()
    found = [one for one in models if part in f"{one['name']} {one['image_tower']}".lower()]
    if not found:
        known = [*LISTS, *dict.fromkeys(one["architecture"] for one in models)]
        raise SynestheteError(
            f"no model is of the family {family[:60]!r}",
            hint=near(family, known)
            or "a part of a name, such as RN50 or siglip; timm; torchvision",
        )
    return found


def _timm_names() -> list[str]:
    import timm

    return list(map(str, timm.list_models()))


def _torchvision_names() -> list[str]:
    from torchvision import models

    return list(map(str, models.list_models(module=models)))


# Of images only: library -> the names of its models.
LISTS: dict[str, Callable[[], list[str]]] = {
    "timm": _timm_names,
    "torchvision": _torchvision_names,
}


def _of_images(library: str, name: str) -> dict[str, Any]:
    """A model of images only, whose size and layers are known after building."""
    return {
        "name": f"{library}:{name}",
        "architecture": name,
        "pretrained": "",
        "image_tower": name,
        "image_size": None,
        "embedding_dim": None,
        "default_layers": [],
        "shipped": False,
    }


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
