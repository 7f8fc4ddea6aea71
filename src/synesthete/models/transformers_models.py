"""Models that transformers builds: two towers (SigLIP, ChineseCLIP, ALIGN, AltCLIP, …) or an image tower alone (ViT, DINOv2, …).

transformers takes what a folder says at its word, as open_clip does. So it never sees the folder, but one of our own, with links to
the weights and with copies of the settings and vocabularies in which what is not known to be harmless is left out.
"""

from __future__ import annotations

import copy
import inspect
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from synesthete._core.text import first_of
from synesthete.errors import SynestheteError
from synesthete.models.adapter import HIDDEN, SHOWN, Network, Pool, TextTower
from synesthete.models.architectures import Tower
from synesthete.models.building import refuse_larger
from synesthete.models.configuration import Rule, choice, either, integer, matching, number, several
from synesthete.models.hub import explained
from synesthete.models.places import BATCH, find_places
from synesthete.models.preprocessing import (
    Preprocessing,
    Preprocessor,
    TransformPreprocessor,
    measure,
)
from synesthete.models.sources import Source
from synesthete.models.text import OpenedTokenizer, copy_tokenizer, hushed
from synesthete.models.tokens import Tokenizer
from synesthete.models.transformers_clip import (
    CONFIG,
    PREPROCESSOR,
    PROCESSOR,
    image_settings,
    read_json_object,
    to_transformers,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

_WORD = matching(re.compile(r"[\w-]{0,48}", re.ASCII), "a word")
_SCALAR = either(choice(None, True, False), integer(-65_536, 65_536), number(-1e9, 1e9), _WORD)
_LIST = several(either(_SCALAR, several(_SCALAR, range(65))), range(65))
_FLAT = Rule(
    "settings of one level",
    lambda one: isinstance(one, dict) and len(one) < 65 and all(map(_SCALAR.fits, one.values())),
)
_ANY = either(_SCALAR, _LIST, _FLAT)
# By what a setting's name ends with or holds, so that none can ask for more than a machine has.
_BOUNDS: tuple[tuple[re.Pattern[str], Rule], ...] = (
    (re.compile(r"_id$"), either(choice(None), integer(-1, 1 << 31), several(integer(-1, 1 << 31), range(65)))),
    (re.compile(r"^vocab_size$"), integer(1, 1 << 21)),
    (re.compile(r"image_size$"), either(integer(1, 2048), several(integer(1, 2048), range(2, 3)))),
    (re.compile(r"(layers|blocks|stages|depth)$"), either(integer(0, 256), _LIST)),
    (re.compile(r"coefficient$"), number(0, 16)),
    (re.compile(r"repeats$|depths$"), several(integer(0, 64), range(17))),
)  # fmt: skip
# These name other models, other code or other formats of weights.
_REFUSED = re.compile(r"backbone|quantization|attn_implementation", re.IGNORECASE)
_IMAGE_SIZE = integer(1, 4096)
_SIZES = Rule(
    "a size in pixels",
    lambda one: (
        _IMAGE_SIZE.fits(one)
        or (isinstance(one, dict) and len(one) < 5 and all(map(_IMAGE_SIZE.fits, one.values())))
    ),
)
_OF_IMAGES: dict[str, Rule] = {
    **dict.fromkeys(
        ("do_resize", "do_rescale", "do_normalize", "do_center_crop", "do_convert_rgb", "default_to_square",
         "rescale_offset", "include_top"), choice(None, True, False)),
    **dict.fromkeys(("size", "crop_size"), either(choice(None), _SIZES)),
    **dict.fromkeys(("image_mean", "image_std"), either(choice(None), number(-1e3, 1e3), several(number(-1e3, 1e3), range(3, 4)))),
    "resample": either(choice(None), integer(0, 5)),
    "rescale_factor": number(1e-6, 1e6),
    "crop_pct": either(choice(None), number(0.05, 1)),
    "patch_size": integer(1, 256), "max_num_patches": integer(1, 4096),
    **dict.fromkeys(("image_processor_type", "feature_extractor_type"),
                    matching(re.compile(r"(?!Auto)[A-Z]\w{1,60}(ImageProcessor(Fast|Pil)?|FeatureExtractor)", re.ASCII), "an image processor of transformers")),
}  # fmt: skip


class TransformersModel:
    """A model of transformers that a source describes: its configuration checked, and built as often as asked.

    Parameters
    ----------
    source
        With the configuration as it was found.

    Attributes
    ----------
    config
        transformers' configuration of the model.
    two_towers
        Whether it reads texts too.

    Raises
    ------
    SynestheteError
        A type that transformers does not have or that sees no images, or a setting that is out of bounds.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.files = source, source.files
        hint = f"check its {CONFIG}, or fetch or copy the model again"
        self._explained = partial(explained, source.spec, hint=hint)
        with hushed(), self._explained("be built"):
            self.config, self.model_class = self._configured()
        self.two_towers = all(
            hasattr(self.model_class, f"get_{what}_features") for what in ("image", "text")
        )
        if not self.two_towers and self.model_class.main_input_name != "pixel_values":
            raise SynestheteError(
                f"{source.spec} is a {self.config.model_type} of transformers, which gives no embeddings of images"
            )
        self._plan: dict[str, Any] | None = None

    def _configured(self) -> tuple[Any, Any]:
        from transformers import CONFIG_MAPPING, MODEL_MAPPING

        kind = self.source.config.get("model_type")
        known = kind if isinstance(kind, str) and kind in CONFIG_MAPPING else ""
        if not known or CONFIG_MAPPING[known] not in MODEL_MAPPING:
            raise SynestheteError(
                f"{self.source.spec}: transformers has no model of type {json.dumps(kind)[:60]}",
                hint="it may need a newer transformers; code of a model is never run",
            )
        config_class = CONFIG_MAPPING[known]
        found = MODEL_MAPPING[config_class]
        settings = checked(self.source.config, config_class, self.source.spec)
        model_class = found[0] if isinstance(found, tuple) else found
        return config_class(**settings), model_class

    def blank(self) -> nn.Module:
        """The model with the library's initial weights."""
        with hushed(), self._explained("be built"):
            if not self.source.trusted:
                refuse_larger(self._build, self.source.limit)
            network: nn.Module = self._build().float()
        return network

    def _build(self) -> Any:
        return self.model_class(copy.deepcopy(self.config))

    def trained(self) -> nn.Module:
        """The model with the source's weights, as `AutoModel` loads them."""
        if not self.source.files:
            return self.blank()
        with hushed(), self._explained("be built"):
            refuse_larger(self._build, self.source.limit)
        with tempfile.TemporaryDirectory(prefix="synesthete-model-") as name, hushed():
            folder = Path(name)
            for file in self.source.files:
                (folder / file.name).symlink_to(os.path.realpath(file))
            single = len(self.source.files) == 1
            if single and self.source.files[0].name != "model.safetensors":
                (folder / self.source.files[0].name).rename(folder / "model.safetensors")
            with self._explained("be loaded"):
                network, report = self.model_class.from_pretrained(
                    folder,
                    config=copy.deepcopy(self.config),
                    dtype=torch.float32,
                    use_safetensors=True,
                    local_files_only=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
        missing = sorted(report["missing_keys"])
        if missing and not self.two_towers and all(one.startswith("pooler.") for one in missing):
            # A ViT that was trained without a pooler has none to read.
            network.pooler, missing = None, []
        if missing:
            raise SynestheteError(
                f"the weights of {self.source.spec} lack {first_of(missing, 1)}",
                hint="the file is damaged or belongs to another model: fetch or copy it again",
            )
        return network  # type: ignore[no-any-return]

    def network(self, model: nn.Module, side: int) -> Network:
        """The towers of a model, with the interface of open_clip's.

        Parameters
        ----------
        model
            From `blank` or `trained`.
        side
            Of the images, in pixels.
        """
        model.eval()
        if self._plan is None:
            with self._explained("be run"):
                self._plan = self._planned(model, side)
        plan = self._plan
        if not self.two_towers:
            return Network(Tower(model, vision_features, plan["visual"]))
        if not plan["steady"]:
            visual = _part(model, plan["visual parts"])
            return Network(Tower(visual, image_features, plan["visual"]))
        visual, text = (_part(model, plan[f"{name} parts"]) for name in ("visual", "text"))
        return Network(
            Tower(visual, image_features, plan["visual"]),
            TextTower(
                text,
                text_features,
                plan["text"],
                context_length=plan["context"],
                vocabulary=plan["vocabulary"],
                pool=plan["pool"],
            ),
            _logit_scale(model),
        )

    def _planned(self, model: nn.Module, side: int) -> dict[str, Any]:
        pixels = torch.zeros(BATCH, 3, side, side)
        if not self.two_towers:
            return {"visual": find_places(model, lambda: vision_features(model, pixels))}
        text: Any = model.config.text_config  # type: ignore[union-attr]
        tokens = _sample_tokens(text, context := _context_length(model, text))
        parts = {
            "visual parts": _children_used(model, lambda: image_features(model, pixels)),
            "text parts": _children_used(model, lambda: text_features(model, tokens)),
        }
        visual, of_text = (_part(model, parts[f"{name} parts"]) for name in ("visual", "text"))
        places = find_places(of_text, lambda: text_features(of_text, tokens), texts=True)
        pool = _pool(of_text, tokens, places[-1].name)
        return parts | {
            "visual": find_places(visual, lambda: image_features(visual, pixels)),
            "text": places,
            "pool": pool,
            "steady": pool == "last" or _is_steady(of_text, tokens),
            "context": context,
            "vocabulary": int(text.vocab_size),
        }

    def preprocessor(self) -> Preprocessor | TransformPreprocessor:
        """The image processor of transformers with the folder's settings, or the type's where it has none."""
        settings = self.image_settings()
        if self.config.model_type.startswith("siglip2"):
            return Preprocessor(_square_of_patches(self.config, settings))
        with tempfile.TemporaryDirectory(prefix="synesthete-images-") as name, hushed():
            (Path(name) / CONFIG).write_text(
                # A vision model that was cut out of a pair is shown what the pair is.
                json.dumps({"model_type": self.config.model_type.removesuffix("_vision_model")}),
                encoding="utf-8",
            )
            (Path(name) / PREPROCESSOR).write_text(json.dumps(settings), encoding="utf-8")
            with self._explained("be given images"):
                from transformers import AutoImageProcessor

                opener: Any = AutoImageProcessor
                processor: Any = opener.from_pretrained(
                    name, local_files_only=True, trust_remote_code=False
                )

        def transform(image: Image.Image) -> torch.Tensor:
            found: torch.Tensor = processor(images=image, return_tensors="pt")["pixel_values"][0]
            return found

        about = {"library": "transformers", "processor": type(processor).__name__} | settings
        return TransformPreprocessor(transform, measure(transform, self.source.spec, about))

    def _has_processor(self) -> bool:
        """Whether transformers knows what prepares square images for the type."""
        from transformers.models.auto import image_processing_auto

        auto: Any = image_processing_auto
        kind: str = self.config.model_type.removesuffix("_vision_model")
        return kind in auto.IMAGE_PROCESSOR_MAPPING_NAMES and not kind.startswith("convnext")

    def image_settings(self) -> dict[str, Any]:
        """What the folder says of preprocessing, checked."""
        folder, spec = self.source.folder, self.source.spec
        found = None if folder is None else image_settings(folder, spec)
        if found is None:
            found = {}
            side = _vision(self.config).get("image_size")
            if isinstance(side, int):
                found = {
                    "size": {"height": side, "width": side},
                    "crop_size": {"height": side, "width": side},
                }
            if folder is None and not self._has_processor():
                # DINOv2 with registers has one in its folders only, and ConvNeXt's takes no square.
                found["image_processor_type"] = "ViTImageProcessor"
        settings = {key: value for key, value in found.items() if key in _OF_IMAGES}
        for key, value in settings.items():
            if not _OF_IMAGES[key].fits(value):
                raise SynestheteError(
                    f"{spec}: {PREPROCESSOR} has {key} {json.dumps(value)[:60]}, expected {_OF_IMAGES[key].expected}"
                )
        return settings

    def tokenizer(self, tower: TextTower) -> Tokenizer:
        """Texts to tokens, with the folder's tokenizer; it is opened when the first text comes."""
        source = self.source

        def opened() -> Any:
            return OpenedTokenizer(source, self.config.model_type, tower.context_length)

        def checked_tokens(inner: Any, texts: list[str]) -> torch.Tensor:
            tokens: torch.Tensor = inner(texts)
            if tokens.numel() and int(tokens.max()) >= tower.vocabulary:
                raise SynestheteError(
                    f"{source.spec} cannot read texts: its tokenizer gives token {int(tokens.max())},"
                    f" and its text tower knows {tower.vocabulary:,}"
                )
            return tokens

        return Tokenizer(opened, checked_tokens)

    def save(self, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
        """Write a folder that plain transformers loads.

        Parameters
        ----------
        weights
            By the names that `network` gives them.
        folder
            An empty folder; configuration, preprocessing and tokenizer are written too.
        """
        model = self.trained()
        own = model.state_dict()
        changed = {
            name.removeprefix("visual.trunk.").removeprefix("text.trunk."): tensor
            for name, tensor in weights.items()
            if name != "logit_scale"
        }
        strange = sorted(set(changed) - set(own))
        if strange:
            raise SynestheteError(f"{self.source.spec} has no weights {strange[0]} to write")
        with hushed():
            model.load_state_dict(
                {name: tensor.cpu() for name, tensor in changed.items()}, strict=False
            )
            # Every tensor on its own, as tied ones may differ now.
            model.save_pretrained(folder)  # type: ignore[operator]
        settings = self.image_settings()
        (folder / PREPROCESSOR).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        if self.two_towers:
            copy_tokenizer(self.source, folder)


# Settings of a configuration that name kernels and quantizers, which transformers fetches.
ELSEWHERE = (
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
    "experts_implementation",
    "quantization_config",
)


def save_clip(source: Source, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write a folder that plain transformers loads: other weights, with all else that the model came with.

    Parameters
    ----------
    source
        The model, of a folder or repository in transformers' format.
    weights
        By open_clip's names.
    folder
        An empty folder; configuration, preprocessing and tokenizer are written too.

    Raises
    ------
    SynestheteError
        A file of the model's folder that is damaged or leads out of it, or that cannot be fetched.
    """
    from safetensors.torch import save_file

    assert source.folder is not None
    config = read_json_object(source.folder, CONFIG, source.spec)
    # The weights are written as the network has them, whatever the original had them in.
    for part in (config, config.get("text_config"), config.get("vision_config")):
        for key in ("dtype", "torch_dtype"):
            if isinstance(part, dict) and key in part:
                part[key] = "float32"
        # Transformers might look for these elsewhere.
        for key in ELSEWHERE:
            if isinstance(part, dict):
                part.pop(key, None)
    files = {CONFIG: config}
    for name in (PREPROCESSOR, PROCESSOR):
        if os.path.lexists(source.folder / name):
            files[name] = read_json_object(source.folder, name, source.spec)
    for name, settings in files.items():
        text = json.dumps(settings, indent=2, ensure_ascii=False)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    copy_tokenizer(source, folder)
    tensors = {
        name: one.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, one in to_transformers(weights).items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def plain_features(
    folder: Path, pixels: torch.Tensor, tokens: torch.Tensor | None, device: str, batch: int
) -> npt.NDArray[np.float32]:
    """What plain transformers makes of a folder that `TransformersModel.save` wrote: normalised embeddings `[n, dimension]`.

    Parameters
    ----------
    pixels
        Images `[images, 3, side, side]`, prepared.
    tokens
        Texts `[texts, context]`, padding marked; None for no texts.
    """
    from transformers import AutoModel

    with hushed():
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    model.eval().to(device)
    see = (
        image_features
        if tokens is not None or hasattr(model, "get_image_features")
        else vision_features
    )
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch):
            parts.append(see(model, pixels[start : start + batch].to(device)))
        if tokens is not None:
            parts.append(text_features(model, tokens.to(device)))
    found = torch.nn.functional.normalize(torch.cat(parts), dim=-1)
    return found.float().cpu().numpy()


def checked(found: Mapping[str, Any], config_class: Any, spec: str) -> dict[str, Any]:
    """Of a configuration, the settings that transformers' class of it has of its own, checked.

    What else stands in such files (files of code, formats of weights, how texts were once generated) does not shape the network and
    is left out.

    Raises
    ------
    SynestheteError
        A setting that names another model or is out of bounds.
    """
    from transformers import PreTrainedConfig

    known = _settings_of(config_class) - _settings_of(PreTrainedConfig)
    parts = getattr(config_class, "sub_configs", {})
    settings: dict[str, Any] = {}
    for key, value in found.items():
        if key in parts:
            continue
        if (key in known and not key.startswith("_")) or key in getattr(
            config_class, "attribute_map", {}
        ):
            settings[key] = _within(key, value, spec)
    for key, part in parts.items():
        inner, older = found.get(key), found.get(f"{key}_dict")
        given = (inner if isinstance(inner, dict) else {}) | (
            older if isinstance(older, dict) else {}
        )
        if not hasattr(part, "model_type") or not part.model_type:
            raise SynestheteError(
                f"{spec} cannot be built: its {key} may be of any other model's kind"
            )
        settings[key] = checked(given, part, spec)
    return settings


def _settings_of(config_class: Any) -> set[str]:
    return {
        name
        for one in config_class.__mro__
        for name in inspect.get_annotations(one)
        if not name.startswith("_")
    } - {"model_type", "sub_configs", "attribute_map"}


def _within(key: str, value: Any, spec: str) -> Any:
    rule = next((rule for pattern, rule in _BOUNDS if pattern.search(key)), _ANY)
    if _REFUSED.search(key) and value not in (None, False):
        raise SynestheteError(f"{spec} cannot be built: {key} names what lies outside the folder")
    if value is not None and not rule.fits(value):
        raise SynestheteError(
            f"{spec} cannot be built: {key} is {json.dumps(value)[:60]}, expected {rule.expected}"
        )
    return value


def image_features(trunk: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Embeddings of images `[batch, 3, side, side]`, as the model's own `get_image_features` gives them."""
    return pooled(trunk.get_image_features(**_shown(trunk.config, pixels)))


def _shown(config: Any, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Images as a tower takes them: SigLIP 2's takes patches and how many a side has."""
    if not config.model_type.startswith("siglip2"):
        return {"pixel_values": pixels}
    patches, side = as_patches(pixels, int(_vision(config)["patch_size"]))
    return {
        "pixel_values": patches,
        "pixel_attention_mask": torch.ones(
            patches.shape[:2], dtype=torch.long, device=pixels.device
        ),
        "spatial_shapes": torch.tensor([[side, side]] * len(patches), device=pixels.device),
    }


def as_patches(pixels: torch.Tensor, size: int) -> tuple[torch.Tensor, int]:
    """Images `[batch, 3, side, side]` cut into `[batch, patches, size · size · 3]`, and how many patches a side has."""
    side = pixels.shape[-1] // size
    cut = pixels.reshape(len(pixels), 3, side, size, side, size)
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2), side


def text_features(trunk: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Embeddings of texts, as the model's own `get_text_features` gives them."""
    mask, padding = tokens != HIDDEN, getattr(trunk.config.text_config, "pad_token_id", None)
    ids = tokens.where(mask, padding or 0)
    # Given even where nothing is masked: without it AIMv2's tower would not be causal.
    found = trunk.get_text_features(
        input_ids=ids.where(ids >= 0, SHOWN - ids), attention_mask=mask.long()
    )
    return pooled(found)


def vision_features(trunk: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Embeddings of a model of images only: what its pooler gives, or its class token."""
    return pooled(trunk(**_shown(trunk.config, pixels)))


def pooled(out: Any) -> torch.Tensor:
    """The embedding `[batch, dimension]` in what a model of transformers gives."""
    found = out if isinstance(out, torch.Tensor) else getattr(out, "pooler_output", None)
    if found is None:
        found = out.last_hidden_state
        found = found[:, 0] if found.ndim == 3 else found.mean((2, 3))
    found = found.flatten(1) if found.ndim == 4 else found
    if found.ndim != 2:
        raise SynestheteError(
            f"its embedding has the shape {tuple(found.shape)}, expected one vector each"
        )
    return found


def _vision(config: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(config, "vision_config", config).to_dict()
    return found


def _square_of_patches(config: Any, settings: Mapping[str, Any]) -> Preprocessing:
    """SigLIP 2 keeps the aspect of an image; a response map needs one grid for all, so images are made square."""
    vision = _vision(config)
    patch = int(vision["patch_size"])
    edge = isqrt(int(settings.get("max_num_patches", vision["num_patches"])))
    half = (0.5, 0.5, 0.5)

    def three(key: str) -> tuple[float, float, float]:
        given = settings.get(key)
        red, green, blue = given if isinstance(given, list) else (given or 0.5,) * 3
        return float(red), float(green), float(blue)

    return Preprocessing(
        image_size=patch * edge,
        mean=three("image_mean") if "image_mean" in settings else half,
        std=three("image_std") if "image_std" in settings else half,
        interpolation="bicubic" if settings.get("resample") == 3 else "bilinear",
        resize_mode="squash",
        fill_color=0,
    )


def _children_used(model: nn.Module, run: Callable[[], object]) -> tuple[str, ...]:
    """Names of the children of a model that are called in a pass."""
    used: dict[str, None] = {}
    with ExitStack() as hooks, torch.no_grad():
        for name, child in model.named_children():
            seen = child.register_forward_hook(lambda *_, name=name: used.setdefault(name))
            hooks.callback(seen.remove)
        run()
    return tuple(used)


def _part(model: nn.Module, names: Sequence[str]) -> nn.Module:
    """The model with some of its children only: the same modules, in a shell of their own."""
    shell = copy.copy(model)
    for key, value in list(shell.__dict__.items()):
        if isinstance(value, dict):
            shell.__dict__[key] = copy.copy(value)
    shell.__dict__["_modules"] = {name: model._modules[name] for name in names}
    shell.__dict__["_parameters"] = {}
    return shell


def _logit_scale(model: Any) -> nn.Parameter | None:
    if isinstance(getattr(model, "logit_scale", None), nn.Parameter):
        return model.logit_scale  # type: ignore[no-any-return]
    temperature = getattr(model, "temperature", None)
    if isinstance(temperature, nn.Parameter):
        # ALIGN divides by it.
        return nn.Parameter(-temperature.detach().log())
    return None


def _context_length(model: nn.Module, text: Any) -> int:
    """How many positions the text tower has; RoBERTa begins to count behind its padding token."""
    length = int(text.max_position_embeddings)
    for part in model.modules():
        table = getattr(part, "position_embeddings", None)
        if hasattr(part, "word_embeddings") and isinstance(table, nn.Embedding):
            return length - (0 if table.padding_idx is None else table.padding_idx + 1)
    return length


def _sample_tokens(text: Any, context: int) -> torch.Tensor:
    """Two texts of a few tokens that end early, whichever way the end is marked."""
    vocabulary, length = int(text.vocab_size), min(context, 8)
    end = getattr(text, "eos_token_id", None)
    end = end if isinstance(end, int) and 2 < end < vocabulary else vocabulary - 1
    taken = {getattr(text, f"{name}_token_id", None) for name in ("pad", "bos")} | {end}
    plain = [one for one in range(2, min(vocabulary, 40)) if one not in taken] or [1]
    row = [plain[place % len(plain)] for place in range(length)]
    row[length // 2] = end
    return torch.tensor([row, row])


def _pool(trunk: nn.Module, tokens: torch.Tensor, last: str) -> Pool:
    """Where a text tower reads its embedding: of which position of its last layer it depends."""
    kept: list[torch.Tensor] = []

    def keep(module: nn.Module, args: Any, out: Any) -> None:
        kept.append(out[0] if isinstance(out, tuple) else out)

    with trunk.get_submodule(last).register_forward_hook(keep), torch.enable_grad():
        found = text_features(trunk, tokens)
        weights = torch.linspace(-1, 1, found.shape[1])
        (slope,) = torch.autograd.grad((found[0] * weights).sum(), kept[-1])
    read = slope[0].abs().sum(-1).nonzero().flatten().tolist()
    if read == [0]:
        return "first"
    return "last" if read == [tokens.shape[1] - 1] else "end"


def _is_steady(trunk: nn.Module, tokens: torch.Tensor) -> bool:
    """Whether a text has one embedding, with padding behind it or without: AIMv2's (transformers 5.23) has two."""
    padded = torch.nn.functional.pad(tokens, (0, 1), value=HIDDEN)
    with torch.no_grad():
        one, other = (nn.functional.normalize(text_features(trunk, t)) for t in (tokens, padded))
    return bool((one - other).abs().max() < 1e-4)
