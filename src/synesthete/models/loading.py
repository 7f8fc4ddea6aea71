"""From the name of a model to the model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from synesthete.errors import SynestheteError
from synesthete.models.fresh import fresh_network
from synesthete.models.hub import one_line
from synesthete.models.image_text_model import ImageTextModel
from synesthete.models.preprocessing import from_open_clip
from synesthete.models.sources import Source, resolve


def load_model(
    spec: str, *, device: str | None = None, allow_pickle: bool | None = None
) -> ImageTextModel:
    """Open an image-text model.

    Parameters
    ----------
    spec
        `mini`, the model that ships with the package; `ARCHITECTURE/TAG` of open_clip, such as
        `RN50x4/openai`; `ARCHITECTURE/random` or `ARCHITECTURE/random:SEED` for random weights;
        `hf-hub:ORG/NAME`; or `local-dir:PATH`, a folder that open_clip can load.
    device
        Where it runs, such as `cpu` or `cuda`; the GPU if there is one, when not given.
    allow_pickle
        Whether weights that are no safetensors may be loaded. Such files are pickles, which can run
        code of whoever made them. When not given, the environment variable `SYNESTHETE_ALLOW_PICKLE`
        (`1`) decides; otherwise they are refused.

    Raises
    ------
    SynestheteError
        No such model (with near matches), no network, damaged folder, pickled weights, weights that are
        not finite.

    Examples
    --------
    >>> model = load_model("RN50/random")
    >>> model.default_layers
    ['visual.layer4.2']
    """
    source = resolve(spec, allow_pickle=allow_pickle)
    build = _builder(source)
    with quiet():
        network = fresh_network(build, source.seed) if source.checkpoint is None else build()
        if source.checkpoint is not None:
            _load_weights(network, source)
            _check_finite(network, source)
    import open_clip

    settings = network.visual.preprocess_cfg  # type: ignore[union-attr]
    return ImageTextModel(
        spec,
        network,
        preprocessing=from_open_clip(settings, spec),  # type: ignore[arg-type]
        embedding_dim=int(source.config["embed_dim"]),
        tokenize=_tokenizer(source),
        build=build,
        description={
            "architecture": source.architecture,
            "pretrained": source.pretrained,
            "image_tower": type(network.visual).__name__,
            "quick_gelu": source.quick_gelu or bool(source.config.get("quick_gelu", False)),
            "parameters": sum(weight.numel() for weight in network.parameters()),
            "open_clip": str(open_clip.__version__),
        },
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
    )


def _builder(source: Source) -> Callable[[], nn.Module]:
    """What makes the network without its weights."""

    def build() -> nn.Module:
        from open_clip import create_model

        try:
            with quiet():
                network: nn.Module = create_model(
                    source.open_clip_name,
                    load_weights=False,
                    # The weights of the whole model follow; those of single towers would be a download.
                    pretrained_image=False,
                    pretrained_text=False,
                    force_quick_gelu=source.quick_gelu,
                    force_preprocess_cfg=source.preprocess,
                )
        except Exception as error:
            raise SynestheteError(
                f"{source.spec} cannot be built: {one_line(error)}",
                hint="check its configuration, or, when files are missing, connect once to fetch them",
            ) from error
        return network

    return build


def _load_weights(network: nn.Module, source: Source) -> None:
    from open_clip import load_checkpoint

    checkpoint = source.checkpoint
    try:
        load_checkpoint(network, str(checkpoint), strict=True, weights_only=True)
    except Exception as error:
        raise SynestheteError(
            f"the weights {checkpoint} do not load into {source.spec}: {one_line(error)}",
            hint="the file is damaged or belongs to another model: fetch or copy it again",
        ) from error


def _check_finite(network: nn.Module, source: Source) -> None:
    """Refuse weights with NaN or infinity in them: whatever is computed with them means nothing."""
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        # One pass without a copy; NaN is both the smallest and the largest value.
        low, high = torch.aminmax(tensor)
        if name.endswith("logit_scale"):
            high = high.exp()
        # A mask says with -inf where not to look; the others hold what was learnt.
        masking = name.endswith("mask") and bool(low == -torch.inf)
        if not bool(high.isfinite()) or not (masking or bool(low.isfinite())):
            raise SynestheteError(
                f"the weights of {source.spec} are not finite: {name} holds NaN or infinity",
                hint="the training went wrong or the file is damaged: fetch or copy it again",
            )


def _tokenizer(source: Source) -> Callable[[list[str]], torch.Tensor]:
    """Texts to tokens; the tokenizer is fetched when the first text comes, as images need none."""
    loaded: list[Callable[[list[str]], torch.Tensor]] = []

    def tokenize(texts: list[str]) -> torch.Tensor:
        from open_clip import get_tokenizer

        try:
            if not loaded:
                with quiet():
                    loaded.append(get_tokenizer(source.tokenizer_name))
            return loaded[0](texts)
        except Exception as error:
            raise SynestheteError(
                f"{source.spec} cannot read texts: {one_line(error)}",
                hint="its tokenizer comes from the model hub: connect once to fetch it",
            ) from error

    return tokenize


@contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip's log lines from the user's terminal; errors are told in our own words."""
    root = logging.getLogger()
    level, handler = root.level, logging.NullHandler()
    # Without any handler, logging would install one for the whole process on the first line.
    root.addHandler(handler)
    root.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
