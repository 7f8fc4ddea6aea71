"""The door for a model folder's configuration: only known settings within bounds get past it.

open_clip, timm and transformers take what a configuration says at its word: some settings name files, some
name repositories of the hub, one runs Python of the folder. So a configuration is read here, checked against
tables of every setting that open_clip has, and refused as a whole when anything in it is not in the tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synesthete._core.json_reader import InvalidJson, read_json
from synesthete._core.user_files import UnusableFile
from synesthete.errors import SynestheteError
from synesthete.models.hub import root_of

CONFIGURATION = "open_clip_config.json"
MAX_BYTES = 1024 * 1024
# A position in a response map is stored in 15 bits.
MAX_GRID = 181
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_TIMM_NAME = re.compile(r"[a-z0-9_]{1,96}(\.[A-Za-z0-9_]{1,64})?", re.ASCII)
_RUNS_CODE = ("trustremotecode", "automap")
_HINT = "expected what open_clip saves: model_cfg with embed_dim, vision_cfg and text_cfg"


@dataclass(frozen=True)
class Rule:
    """What a setting may be.

    Attributes
    ----------
    expected
        In words, for the message.
    fits
        Whether a value is that.
    """

    expected: str
    fits: Callable[[Any], bool]


def integer(low: int, high: int) -> Rule:
    """A whole number from `low` to `high`."""
    return Rule(
        f"an integer from {low:,} to {high:,}",
        lambda one: type(one) is int and low <= one <= high,
    )


def number(low: float, high: float) -> Rule:
    """A number from `low` to `high`."""
    return Rule(
        f"a number from {low:g} to {high:g}",
        lambda one: type(one) in (int, float) and low <= one <= high,
    )


def choice(*options: Any) -> Rule:
    """One of a few values, type included."""
    return Rule(
        " or ".join(map(json.dumps, options)),
        lambda one: any(type(one) is type(option) and one == option for option in options),
    )


def matching(pattern: re.Pattern[str], expected: str) -> Rule:
    """A string that matches as a whole."""
    return Rule(expected, lambda one: isinstance(one, str) and bool(pattern.fullmatch(one)))


def either(*rules: Rule) -> Rule:
    """What fits any of the rules."""
    return Rule(
        " or ".join(rule.expected for rule in rules), lambda one: any(r.fits(one) for r in rules)
    )


def several(rule: Rule, count: range) -> Rule:
    """A list with `count` entries that all fit."""
    least, most = count[0], count[-1]
    how_many = f"{least}" if least == most else f"{least} to {most}"
    return Rule(
        f"a list of {how_many}, each {rule.expected}",
        lambda one: isinstance(one, list) and len(one) in count and all(map(rule.fits, one)),
    )


NONE = choice(None)
FLAG = choice(True, False)
SIZE = either(integer(1, 2048), several(integer(1, 2048), range(2, 3)))
WIDTH, HEADS, LAYERS = integer(1, 16_384), integer(1, 512), integer(1, 256)
HUB_NAME = either(NONE, choice(""), matching(_HUB_NAME, "NAME or ORG/NAME of the model hub"))
WORD = either(NONE, matching(re.compile(r"[a-z_]{0,32}"), "a word"))
# Part of a regular expression in open_clip's tokenizer: nothing that repeats or groups.
TOKEN = matching(re.compile(r"[^*+?{}()\\\x00-\x1f]{1,64}"), "a token without any of *+?{}()\\")
_BLOCK: dict[str, Rule] = {
    "width": WIDTH,
    "layers": LAYERS,
    "mlp_ratio": number(0.01, 64),
    "ls_init_value": either(NONE, number(-1e3, 1e3)),
    "final_ln_after_pool": FLAG,
    "output_tokens": FLAG,
    "act_kwargs": choice(None, {}, {"approximate": "tanh"}, {"approximate": "none"}),
    "norm_kwargs": Rule(
        'null or {"eps": a number from 0 to 1}',
        lambda one: (
            one is None
            or (
                isinstance(one, dict)
                and set(one) <= {"eps"}
                and all(map(number(0, 1).fits, one.values()))
            )
        ),
    ),
    "block_type": choice(None, "default", "custom"),
    "qk_norm": FLAG,
    "scaled_cosine_attn": FLAG,
    "scale_heads": FLAG,
    "scale_attn_inner": FLAG,
    "scale_attn": FLAG,
    "scale_fc": FLAG,
}
VISION: dict[str, Rule] = _BLOCK | {
    "layers": either(LAYERS, several(LAYERS, range(4, 5))),
    "head_width": WIDTH,
    "patch_size": either(NONE, integer(1, 2048)),
    "image_size": SIZE,
    "patch_dropout": number(0, 0.99),
    "attentional_pool": choice(True, False, "parallel", "cascade"),
    "attn_pooler_queries": integer(1, 4096),
    "attn_pooler_heads": HEADS,
    "no_ln_pre": FLAG,
    "pos_embed_type": choice("learnable", "sin_cos_2d"),
    "pool_type": choice("tok", "avg", "none"),
    "timm_model_name": either(NONE, matching(_TIMM_NAME, "a name of timm's own list")),
    "timm_model_pretrained": FLAG,
    "timm_pool": WORD,
    "timm_proj": choice(None, "", "linear", "mlp", "none"),
    "timm_proj_bias": FLAG,
    "timm_drop": number(0, 1),
    "timm_drop_path": either(NONE, number(0, 1)),
}
TOKENIZER: dict[str, Rule] = {
    "clean": choice("lower", "whitespace", "canonicalize"),
    "strip_sep_token": FLAG,
    "language": either(NONE, matching(re.compile(r"\w{1,32}", re.ASCII), "a language code")),
    "additional_special_tokens": either(NONE, several(TOKEN, range(101))),
    # Not `syntax`, for which open_clip fetches a tagger.
    "reduction_mask": choice("", "simple", "random", "shuffle"),
}
TEXT: dict[str, Rule] = _BLOCK | {
    "context_length": integer(1, 8192),
    "vocab_size": integer(1, 1 << 21),
    "hf_tokenizer_name": HUB_NAME,
    "tokenizer_mode": choice(None, "", "clips"),
    "tokenizer_kwargs": either(NONE, Rule("an object", lambda one: isinstance(one, dict))),
    "heads": HEADS,
    "embed_cls": FLAG,
    "pad_id": integer(0, 1 << 31),
    "eos_id": integer(0, 1 << 31),
    "no_causal_mask": FLAG,
    "pool_type": choice("first", "last", "argmax", "eos", "none"),
    "proj_bias": FLAG,
    "proj_type": choice("linear", "none"),
    "hf_model_name": HUB_NAME,
    "hf_model_pretrained": FLAG,
    "hf_proj_type": choice(None, "", "linear", "mlp"),
    "hf_pooler_type": WORD,
}
MULTIMODAL: dict[str, Rule] = TEXT | {
    "dim_head": WIDTH,
    "n_queries": integer(1, 4096),
    "attn_pooler_heads": HEADS,
}
_OBJECT = Rule("an object", lambda one: isinstance(one, dict))
MODEL: dict[str, Rule] = {
    "embed_dim": WIDTH,
    "vision_cfg": _OBJECT,
    "text_cfg": _OBJECT,
    "multimodal_cfg": _OBJECT,
    "quick_gelu": FLAG,
    "custom_text": FLAG,
    "init_logit_scale": number(-80, 80),
    "init_logit_bias": either(NONE, number(-1e6, 1e6)),
    "nonscalar_logit_scale": FLAG,
    "output_dict": FLAG,
    "pad_id": integer(0, 1 << 31),
}
_COLOUR = number(-1e3, 1e3)
_SPREAD = number(1e-6, 1e6)
# open_clip takes these and ignores whatever else lies beside them; what is null is as if absent.
PREPROCESS: dict[str, Rule] = {
    "size": SIZE,
    "mode": choice("RGB"),
    "mean": either(_COLOUR, several(_COLOUR, range(3, 4))),
    "std": either(_SPREAD, several(_SPREAD, range(3, 4))),
    "interpolation": choice("bicubic", "bilinear", "random"),
    "resize_mode": choice("shortest", "longest", "squash"),
    "fill_color": integer(0, 255),
}


class RefusedSetting(SynestheteError):
    """A setting that is unknown or out of bounds."""


def read_configuration(folder: Path, spec: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read and check a folder's `open_clip_config.json`.

    Parameters
    ----------
    folder
        The model's folder.
    spec
        What the user asked for, for messages.

    Returns
    -------
    model_cfg, preprocess_cfg
        Nothing but known settings, within bounds.

    Raises
    ------
    SynestheteError
        If the file is missing, leads out of the folder, is no such configuration, or asks for code of the folder.
    """
    damaged = f"{spec}: {CONFIGURATION} "
    try:
        found = read_json(folder / CONFIGURATION, root=root_of(folder), max_bytes=MAX_BYTES)
    except InvalidJson as error:
        raise SynestheteError(f"{damaged}is damaged: {error}", hint=_HINT) from None
    except UnusableFile as error:
        if not (folder / CONFIGURATION).is_symlink() and not (folder / CONFIGURATION).exists():
            raise SynestheteError(damaged + "is missing", hint=_HINT) from None
        raise SynestheteError(f"{spec}: {error.message}", hint=error.hint) from None
    refuse_code(found, f"{spec}: {CONFIGURATION}")
    model = found.get("model_cfg") if isinstance(found, dict) else None
    if not isinstance(model, dict):
        raise SynestheteError(damaged + "has no model_cfg", hint=_HINT)
    missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in model]
    if missing:
        raise SynestheteError(f"{damaged}lacks {', '.join(missing)}", hint=_HINT)
    preprocess = found.get("preprocess_cfg")
    try:
        check_model(model)
        if not isinstance(preprocess, dict | None):
            raise RefusedSetting(f"preprocess_cfg is {_shown(preprocess)}, expected an object")
        preprocess = {
            key: value
            for key, value in (preprocess or {}).items()
            if key in PREPROCESS and value is not None
        }
        _check(preprocess, PREPROCESS, "preprocess_cfg.")
    except RefusedSetting as error:
        hint = f"check its {CONFIGURATION}, or fetch or copy the model again"
        raise SynestheteError(f"{spec} cannot be built: {error}", hint=hint) from None
    return model, preprocess


def check_model(config: Mapping[str, Any]) -> None:
    """Check a `model_cfg`; only the settings that open_clip knows, none that reads a file or runs code.

    Raises
    ------
    RefusedSetting
        With the setting, its value and what was expected.
    """
    _check(config, MODEL, "")
    _check(config["vision_cfg"], VISION, "vision_cfg.")
    for part, table in (("text_cfg", TEXT), ("multimodal_cfg", MULTIMODAL)):
        if part in config:
            _check(config[part], table, f"{part}.")
            _check(
                config[part].get("tokenizer_kwargs") or {}, TOKENIZER, f"{part}.tokenizer_kwargs."
            )
    vision = config["vision_cfg"]
    size, patch = vision.get("image_size", 224), vision.get("patch_size", 16)
    side = max(size) if isinstance(size, list) else size
    tokens = not vision.get("timm_model_name") and not isinstance(vision.get("layers"), list)
    if tokens and (patch is None or not 1 <= side // patch <= MAX_GRID):
        raise RefusedSetting(
            f"vision_cfg cuts {side} pixels into patches of {_shown(patch)}, expected 1 to {MAX_GRID} a side"
        )


# Of timm's settings of weights, those that say how images are made.
_TIMM_IMAGES: dict[str, Rule] = {
    "input_size": several(integer(1, 2048), range(3, 4)),
    "interpolation": choice("bicubic", "bilinear", "nearest", "lanczos"),
    "crop_pct": number(0.05, 1),
    "crop_mode": choice("center", "squash", "border"),
    "mean": several(_COLOUR, range(3, 4)),
    "std": several(_SPREAD, range(3, 4)),
}
_TIMM: dict[str, Rule] = {
    "architecture": matching(_TIMM_NAME, "a name of timm's own list"),
    "num_classes": integer(0, 1 << 20),
    "global_pool": WORD,
}
# Arguments of the architecture, which timm 1.0.31 writes beside the same settings.
_TIMM_ARGUMENTS = {name: _TIMM[name] for name in ("num_classes", "global_pool")} | {
    "in_chans": integer(3, 3),
    "img_size": SIZE,
}
# What describes the training and its classes, or repeats what the architecture says.
_TIMM_PASSED = ("num_features", "pretrained_cfg", "label_names", "label_descriptions", "model_args")


def check_timm(found: Mapping[str, Any]) -> dict[str, Any]:
    """Check a `config.json` of timm.

    Returns
    -------
    dict
        `architecture`, `arguments` of `timm.create_model`, and under `images` how they are made.

    Raises
    ------
    RefusedSetting
        With the setting, its value and what was expected.
    """
    _check({k: v for k, v in found.items() if k not in _TIMM_PASSED}, _TIMM, "", of="timm")
    named = found.get("model_args") or {}
    if not isinstance(named, dict):
        raise RefusedSetting(f"model_args is {_shown(named)}, expected an object")
    _check(named, _TIMM_ARGUMENTS, "model_args.", of="timm")
    given = found.get("pretrained_cfg")
    images = {
        key: value
        for key, value in (given if isinstance(given, dict) else {}).items()
        if key in _TIMM_IMAGES and value is not None
    }
    _check(images, _TIMM_IMAGES, "pretrained_cfg.", of="timm")
    arguments = {
        key: found[key] for key in ("num_classes", "global_pool") if found.get(key) is not None
    }
    return {
        "architecture": found["architecture"],
        "arguments": arguments | named,
        "images": images,
    }


def refuse_code(found: Any, where: str) -> None:
    """Refuse JSON that asks, at any depth, for Python of the model's own folder to be run.

    Raises
    ------
    SynestheteError
        If it has a key `trust_remote_code` or `auto_map`, however it is spelled and whatever its value is.
    """
    if isinstance(found, dict):
        for key in found:
            if re.sub(r"[\W_]", "", key).lower() in _RUNS_CODE:
                raise SynestheteError(
                    f"{where} asks for Python code of the model's own to be run ({_shown(key)})",
                    hint="code of a model is never run; take the setting out if the model works without it",
                )
    if isinstance(found, dict | list):
        for one in found.values() if isinstance(found, dict) else found:
            refuse_code(one, where)


def _check(
    found: Mapping[str, Any], table: Mapping[str, Rule], where: str, of: str = "open_clip"
) -> None:
    for key, value in found.items():
        if key not in table:
            place = where or ("model_cfg." if of == "open_clip" else "")
            raise RefusedSetting(f"{place}{_shown(key)} is no setting of {of}")
        if not table[key].fits(value):
            raise RefusedSetting(f"{where}{key} is {_shown(value)}, expected {table[key].expected}")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:59] + "…"
