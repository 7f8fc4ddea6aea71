"""Small random models of transformers' families, saved as the library saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.models.conftest import scramble

WORDS = (
    "apple",
    "dog",
    "a",
    "photo",
    "of",
    "an",
    "two",
    "red",
    "the",
    "cat",
    "eats",
    "##s",
    "ple",
    "##le",
)
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "vocab_size": 64, "max_position_embeddings": 16, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
EFFICIENT = {
    "image_size": 64, "in_channels": [32, 16, 24], "out_channels": [16, 24, 32], "strides": [1, 2, 2],
    "num_block_repeats": [1, 2, 1], "expand_ratios": [1, 4, 4], "kernel_sizes": [3, 3, 5], "hidden_dim": 32,
    "width_coefficient": 1.0, "depth_coefficient": 1.0, "depthwise_padding": [],
}  # fmt: skip
PROJECTED = {"projection_dim": 24}
FAMILIES: dict[str, dict[str, Any]] = {
    "siglip": {"text_config": TEXT | {"projection_size": 32}, "vision_config": VISION},
    "siglip2": {
        "text_config": TEXT | {"projection_size": 32},
        "vision_config": {k: v for k, v in VISION.items() if k != "image_size"} | {"num_patches": 16},
    },
    "chinese_clip": {"text_config": TEXT, "vision_config": VISION} | PROJECTED,
    "align": {"text_config": TEXT, "vision_config": EFFICIENT, "projection_dim": 32},
    "altclip": {
        "text_config": TEXT | {"project_dim": 24, "pad_token_id": 1, "max_position_embeddings": 18}, "vision_config": VISION,
    } | PROJECTED,
    "clipseg": {"text_config": TEXT, "vision_config": VISION} | PROJECTED,
    "metaclip_2": {"text_config": TEXT, "vision_config": VISION} | PROJECTED,
    "aimv2": {"text_config": TEXT, "vision_config": VISION} | PROJECTED,
    "dinov2": VISION | {"mlp_ratio": 2},
    "dinov2_with_registers": VISION | {"mlp_ratio": 2, "num_register_tokens": 3},
    "vit": VISION,
    "convnext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "image_size": 64},
    "resnet": {"embedding_size": 8, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 2, 1, 1], "layer_type": "bottleneck"},
    "swin": {"image_size": 64, "patch_size": 4, "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4], "window_size": 4},
}  # fmt: skip
TWO_TOWERS = (
    "siglip",
    "siglip2",
    "chinese_clip",
    "align",
    "altclip",
    "clipseg",
    "metaclip_2",
    "aimv2",
)
# Run in open_clip's network; all others are transformers' own modules.
CLIP = {"text_config": TEXT, "vision_config": VISION} | PROJECTED
IMAGES_ONLY = tuple(name for name in FAMILIES if name not in TWO_TOWERS)


def reference(family: str, seed: int = 0) -> Any:
    """The model as the library builds it, with weights in which nothing cancels."""
    from transformers import CONFIG_MAPPING, AutoModel

    config = CONFIG_MAPPING[family](**(FAMILIES | {"clip": CLIP})[family])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return scramble(AutoModel.from_config(config)).eval()


def write_tokenizer(folder: Path, family: str) -> None:
    """A WordPiece tokenizer of a few words, with the special tokens where the family's configuration has them."""
    # RoBERTa's padding token has the number 1.
    words = ["[UNK]", "[PAD]", *BERT[2:]] if family == "altclip" else BERT
    vocabulary = {word: place for place, word in enumerate(words)}
    special = [
        {"id": vocabulary[one], "content": one, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for one in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    ]  # fmt: skip
    tokens = {
        one: {"id": one, "ids": [vocabulary[one]], "tokens": [one]} for one in ("[CLS]", "[SEP]")
    }
    single = (
        [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}] if not family.startswith("siglip") else []
    )
    single += [
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": tokens},
        "decoder": None,
        "model": {"type": "WordPiece", "vocab": vocabulary, "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    named = {
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]",
        "sep_token": "[SEP]", "model_max_length": 16, "padding_side": "left" if family == "siglip2" else "right",
        "model_input_names": ["input_ids"] if family.startswith("siglip") else ["input_ids", "attention_mask"],
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(named))


def write_family(folder: Path, family: str) -> Path:
    """Save a model of a family with its preprocessing, and its tokenizer if it reads texts."""
    reference(family).save_pretrained(folder)
    side = {"align": 64, "convnext": 64, "resnet": 64, "swin": 64}.get(family, 32)
    square = {"height": side, "width": side}
    settings = {
        "do_resize": True, "size": {"shortest_edge": side + 8}, "do_center_crop": True, "crop_size": square, "resample": 3,
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.3, 0.25],
    }  # fmt: skip
    if family == "clip":
        settings["size"] = {"shortest_edge": side}
    if family.startswith("siglip"):
        settings |= {"size": square, "do_center_crop": False}
    if family == "siglip2":
        settings = {
            "image_mean": [0.4, 0.5, 0.6],
            "image_std": [0.2, 0.3, 0.25],
            "patch_size": 8,
            "max_num_patches": 16,
        }
    if family == "dinov2_with_registers":
        settings["image_processor_type"] = "BitImageProcessor"
    if family == "align":
        settings |= {
            "size": square,
            "image_processor_type": "EfficientNetImageProcessor",
            "include_top": False,
        }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    if family in (*TWO_TOWERS, "clip"):
        write_tokenizer(folder, family)
    return folder
