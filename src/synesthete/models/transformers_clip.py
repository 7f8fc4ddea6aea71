"""A CLIP in transformers' format, `config.json` and `model.safetensors`, read into open_clip's network and written from it.

transformers is not needed: the settings that shape a CLIP are few, and the two formats differ in names only, but for
queries, keys and values, which open_clip keeps in one matrix, and for projections, which it keeps transposed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synesthete._core.json_reader import InvalidJson, read_json
from synesthete._core.user_files import UnusableFile
from synesthete.errors import SynestheteError
from synesthete.models.configuration import (
    MAX_BYTES,
    PREPROCESS,
    RefusedSetting,
    check_model,
    refuse_code,
)
from synesthete.models.hub import root_of

if TYPE_CHECKING:
    import torch

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
PROCESSOR, INDEX = "processor_config.json", "model.safetensors.index.json"
_SHARD = re.compile(r"[A-Za-z0-9][\w.-]{0,120}\.safetensors", re.ASCII)
# What transformers takes where a configuration says nothing.
_EITHER = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_hidden_layers": 12}
_TEXT = _EITHER | {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8,
    "max_position_embeddings": 77, "eos_token_id": 49407,
}  # fmt: skip
_VISION = _EITHER | {
    "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "image_size": 224, "patch_size": 32,
    "num_channels": 3,
}  # fmt: skip
_RESAMPLE = {"2": "bilinear", "3": "bicubic"}


def type_of(folder: Path, spec: str) -> str:
    """What kind of model a folder in transformers' format holds.

    Raises
    ------
    SynestheteError
        Its configuration does not say, or asks for code.
    """
    kind = read_json_object(folder, CONFIG, spec).get("model_type")
    if not (isinstance(kind, str) and re.fullmatch(r"[\w-]{1,64}", kind, re.ASCII)):
        raise SynestheteError(
            f"{spec}: {CONFIG} names no model_type of transformers", hint="check the file"
        )
    return kind


def require_transformers(spec: str, kind: str) -> None:
    """Say what to install for a model that only transformers builds."""
    if find_spec("transformers") is None:
        raise SynestheteError(
            f"{spec} is a {kind} of transformers, which is not installed",
            hint="pip install 'synesthete[transformers]'",
        )


def shards(index: Path, root: Path, spec: str) -> list[str]:
    """The files of weights that an index names, each a name in its own folder.

    Raises
    ------
    SynestheteError
        It is damaged, or names anything else.
    """
    try:
        found = read_json(index, root=root, max_bytes=64 * MAX_BYTES)
    except InvalidJson as error:
        raise SynestheteError(f"{spec}: {INDEX} is damaged: {error}") from None
    except UnusableFile as error:
        raise SynestheteError(f"{spec}: {error.message}", hint=error.hint) from None
    table = found.get("weight_map") if isinstance(found, dict) else None
    names = sorted({str(name) for name in table.values()}) if isinstance(table, dict) else []
    if not names or len(names) > 1000 or not all(map(_SHARD.fullmatch, names)):
        raise SynestheteError(f"{spec}: {INDEX} names no files of weights in its folder")
    return names


def read_transformers(folder: Path, spec: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read and check a folder that transformers' `CLIPModel.save_pretrained` wrote.

    Parameters
    ----------
    folder
        With `config.json`; `preprocessor_config.json` or `processor_config.json` is read where it is.
    spec
        What the user asked for, for messages.

    Returns
    -------
    model_cfg, preprocess_cfg
        As open_clip has them, within the bounds of any `open_clip_config.json`.

    Raises
    ------
    SynestheteError
        A model that is no CLIP, a setting that open_clip's network does not have, code, links out of the folder.
    """
    found = read_json_object(folder, CONFIG, spec)
    text, vision = _part(found, "text", _TEXT), _part(found, "vision", _VISION)
    try:
        config = _configuration(found, text, vision)
        check_model(config)
    except (TypeError, ZeroDivisionError):
        raise SynestheteError(f"{spec}: {CONFIG} has a setting of an odd type") from None
    except RefusedSetting as error:
        raise SynestheteError(
            f"{spec} cannot be built: {error}", hint=f"check its {CONFIG}"
        ) from None
    return config, _preprocessing(folder, spec, vision["image_size"])


def _configuration(
    found: Mapping[str, Any], text: Mapping[str, Any], vision: Mapping[str, Any]
) -> dict[str, Any]:
    activation = {text["hidden_act"], vision["hidden_act"]}
    if activation not in ({"quick_gelu"}, {"gelu"}):
        raise RefusedSetting(f"hidden_act is {' and '.join(sorted(map(str, activation)))[:60]}")
    if vision["num_channels"] != 3:
        raise RefusedSetting("num_channels is not 3")
    for part in (text, vision):
        if part["hidden_size"] % part["num_attention_heads"]:
            raise RefusedSetting("hidden_size is no multiple of num_attention_heads")
    # The end token was once written as 2, and transformers then reads at the largest id, as open_clip does.
    end = text["eos_token_id"]
    pool = {"pool_type": "argmax"} if end == 2 else {"pool_type": "eos", "eos_id": end}

    def block(part: Mapping[str, Any]) -> dict[str, Any]:
        shape = {
            "width": part["hidden_size"],
            "layers": part["num_hidden_layers"],
            "mlp_ratio": part["intermediate_size"] / part["hidden_size"],
        }
        eps = part["layer_norm_eps"]
        return shape if eps == 1e-5 else shape | {"norm_kwargs": {"eps": eps}}

    return {
        "embed_dim": found.get("projection_dim", 512),
        "quick_gelu": activation == {"quick_gelu"},
        "vision_cfg": block(vision)
        | {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
        },
        "text_cfg": block(text)
        | {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "heads": text["num_attention_heads"],
        }
        | pool,
    }


def _part(found: Mapping[str, Any], name: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a tower; what old files say in `text_config_dict` counts more."""
    merged = dict(defaults)
    for key, fresh in ((f"{name}_config", False), (f"{name}_config_dict", True)):
        given = found.get(key)
        if isinstance(given, dict):
            merged |= (dict(defaults) if fresh else {}) | {
                k: given[k] for k in defaults if k in given
            }
    return merged


def image_settings(folder: Path, spec: str) -> dict[str, Any] | None:
    """What a folder says of its preprocessing; None where it says nothing."""
    # transformers 5 writes all settings of a processor to one file, and reads it first.
    if os.path.lexists(folder / PROCESSOR):
        inner = read_json_object(folder, PROCESSOR, spec).get("image_processor")
        if isinstance(inner, dict):
            return inner
    if os.path.lexists(folder / PREPROCESSOR):
        return read_json_object(folder, PREPROCESSOR, spec)
    return None


def _preprocessing(folder: Path, spec: str, side: Any) -> dict[str, Any]:
    """What open_clip calls the settings of transformers' CLIPImageProcessor."""
    given = image_settings(folder, spec)
    if given is None:
        return {}
    for key in ("do_resize", "do_rescale", "do_normalize"):
        if given.get(key) is False:
            raise SynestheteError(f"{spec}: its images are not prepared as CLIP's: {key} is false")
    factor = given.get("rescale_factor", 1 / 255)
    if not (isinstance(factor, float) and abs(factor * 255 - 1) < 1e-6):
        raise SynestheteError(
            f"{spec}: its images are not prepared as CLIP's: rescale_factor is {str(factor)[:40]}"
        )
    size: Any = given.get("size")
    crop: Any = given.get("crop_size")
    squash = isinstance(size, dict) and "height" in size
    whole = squash and [size.get("height"), size.get("width")] == [side, side]
    short = size.get("shortest_edge") if isinstance(size, dict) else size
    cuts = [crop.get("height"), crop.get("width")] if isinstance(crop, dict) else [crop]
    if given.get("do_center_crop") is False:
        fits = whole
    else:
        fits = (whole if squash else short in (None, side)) and all(
            cut in (None, side) for cut in cuts
        )
    if not fits:
        raise SynestheteError(
            f"{spec}: its images are not cut as open_clip cuts them: they are scaled to {str(size)[:60]}"
            f" and cut to {str(crop)[:60]}, and the network takes {side} pixels"
        )
    named = {"mean": given.get("image_mean"), "std": given.get("image_std")}
    named["interpolation"] = (
        _RESAMPLE.get(str(given["resample"]), "?") if "resample" in given else None
    )
    settings = {key: value for key, value in named.items() if value is not None}
    for key, value in settings.items():
        if not PREPROCESS[key].fits(value):
            raise SynestheteError(f"{spec}: {PREPROCESSOR} has {key} of an odd kind")
    return settings | {"resize_mode": "squash" if squash else "shortest"}


def read_json_object(folder: Path, name: str, spec: str) -> dict[str, Any]:
    """A file of settings of a model's folder, in which nothing asks for code to be run."""
    try:
        found = read_json(folder / name, root=root_of(folder), max_bytes=MAX_BYTES)
    except InvalidJson as error:
        raise SynestheteError(f"{spec}: {name} is damaged: {error}") from None
    except UnusableFile as error:
        raise SynestheteError(f"{spec}: {error.message}", hint=error.hint) from None
    refuse_code(found, f"{spec}: {name}")
    if not isinstance(found, dict):
        raise SynestheteError(f"{spec}: {name} is not an object")
    return found


_BLOCK = {
    "self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}  # fmt: skip
_PLAIN = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    **{
        f"{theirs}.{part}": f"{ours}.{part}"
        for theirs, ours in (
            ("text_model.final_layer_norm", "ln_final"),
            ("vision_model.pre_layrnorm", "visual.ln_pre"),
            ("vision_model.post_layernorm", "visual.ln_post"),
        )
        for part in ("weight", "bias")
    },
}
_TRANSPOSED = {
    "text_projection.weight": "text_projection",
    "visual_projection.weight": "visual.proj",
}
_LAYER = re.compile(r"(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def to_open_clip(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of transformers' CLIPModel under open_clip's names.

    Parameters
    ----------
    weights
        By the names that `CLIPModel.save_pretrained` gives them.

    Returns
    -------
    dict
        The same numbers; what has no counterpart keeps its name, so that loading tells of it.
    """
    import torch

    found: dict[str, torch.Tensor] = {}
    joined: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in weights.items():
        if name in _PLAIN:
            found[_PLAIN[name]] = tensor
        elif name in _TRANSPOSED:
            found[_TRANSPOSED[name]] = tensor.T.contiguous()
        elif (match := _LAYER.fullmatch(name)) is not None:
            tower, number, part, kind = match.groups()
            prefix = "visual." if tower == "vision" else ""
            block = f"{prefix}transformer.resblocks.{number}."
            if part in _BLOCK:
                found[f"{block}{_BLOCK[part]}.{kind}"] = tensor
            else:
                joined.setdefault(f"{block}attn.in_proj_{kind}", {})[part] = tensor
        elif not name.endswith(".position_ids"):
            found[name] = tensor
    for name, parts in joined.items():
        order = [f"self_attn.{one}_proj" for one in "qkv"]
        if sorted(parts) == sorted(order):
            found[name] = torch.cat([parts[one] for one in order])
        else:
            found |= {f"{name}: {part}": tensor for part, tensor in parts.items()}
    return found


_OURS = {ours: theirs for theirs, ours in (_PLAIN | _TRANSPOSED).items()}
_OUR_BLOCK = {ours: theirs for theirs, ours in _BLOCK.items()}
_OUR_LAYER = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)")


def to_transformers(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inverse of `to_open_clip`.

    Parameters
    ----------
    weights
        By open_clip's names.

    Returns
    -------
    dict
        The same numbers by the names of transformers' CLIPModel.

    Raises
    ------
    SynestheteError
        A weight that it does not have.
    """
    found: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        theirs = _OURS.get(name)
        if theirs is not None:
            found[theirs] = tensor.T if theirs in _TRANSPOSED else tensor
            continue
        match = _OUR_LAYER.fullmatch(name)
        part = "" if match is None else match[3]
        if match is None or part not in {"attn.in_proj", *_OUR_BLOCK}:
            raise SynestheteError(f"transformers' CLIP has no weights for {name}")
        layer = f"{'vision' if match[1] else 'text'}_model.encoder.layers.{match[2]}."
        if part == "attn.in_proj":
            for one, piece in zip("qkv", tensor.chunk(3), strict=True):
                found[f"{layer}self_attn.{one}_proj.{match[4]}"] = piece
        else:
            found[f"{layer}{_OUR_BLOCK[part]}.{match[4]}"] = tensor
    return found
