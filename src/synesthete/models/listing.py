"""Which models there are to load by name."""

from __future__ import annotations

from typing import Any

from synesthete.models.configuration import CONFIGURATION
from synesthete.models.sources import MINI, resolve


def list_models() -> list[dict[str, Any]]:
    """Mini, and every pretrained model that open_clip knows.

    Returns
    -------
    list of dict
        Per model `name` (what `load_model` takes), `architecture`, `pretrained`, `image_tower`,
        `image_size` (pixels), `embedding_dim`, `default_layers` (empty for timm towers, whose layers
        are known once they are built) and `shipped` (whether it needs no download).

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
