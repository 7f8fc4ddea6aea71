"""From the name of a model to the model."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol, cast

from synesthete.errors import SynestheteError
from synesthete.models.hub import explained, one_line
from synesthete.models.sources import Source, resolve

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from synesthete.models.adapter import Network, TextTower
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.models.preprocessing import Preprocessor, TransformPreprocessor
    from synesthete.models.tokens import Tokenizer


def load_model(
    spec: str, *, device: str | None = None, allow_pickle: bool | None = None
) -> ImageTextModel:
    """Load an image-text model.

    Parameters
    ----------
    spec
        `mini`, the model that ships with the package; `ARCHITECTURE/TAG` of open_clip, such as
        `RN50x4/openai`; `ARCHITECTURE/random` or `ARCHITECTURE/random:SEED` for random weights;
        `hf-hub:ORG/NAME`, a plain `ORG/NAME` or its address; `local-dir:PATH` or `PATH`, a folder that open_clip
        can load or that transformers or timm saved a model to; `ARCHITECTURE@FILE` or `FILE`, weights; or, of models that
        read images only, `timm:NAME` and `torchvision:NAME`, with `/random` or `@FILE` behind as above.
    device
        Where it runs, such as `cpu` or `cuda`; by default the GPU if there is one.
    allow_pickle
        Whether weights other than safetensors may be loaded. Such files are pickles, which can run
        arbitrary code. When not given, the environment variable `SYNESTHETE_ALLOW_PICKLE`
        (`1`) decides; otherwise they are refused.

    Raises
    ------
    SynestheteError
        No such model (with near matches), no network, damaged folder, pickled weights, non-finite
        weights, a configuration with code, files or sizes that are not allowed.

    Examples
    --------
    >>> model = load_model("RN50/random")
    >>> model.default_layers
    ['visual.layer4.2']
    """
    source = resolve(spec, allow_pickle=allow_pickle)
    if source.library != "open_clip":
        return _of_another_library(source, device)
    # Only now: a name that is wrong, or a hub that is out of reach, is reported without waiting for torch.
    import open_clip

    from synesthete.models.building import ImageOnly, builder_of, quiet
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.models.preprocessing import from_open_clip
    from synesthete.models.random_init import fresh_network
    from synesthete.models.text import no_texts, tokenizer_of

    build = builder_of(source)
    with quiet():
        network = fresh_network(build, source.seed) if source.checkpoint is None else build()
        if source.checkpoint is not None:
            _load_weights(network, source)
            _check_finite(network, source)
    settings = network.visual.preprocess_cfg  # type: ignore[union-attr]
    tokenize, missing = tokenizer_of(source), {}
    if isinstance(network, ImageOnly):
        tokenize, missing = no_texts(network.reason), {"text_tower": network.reason.message}
    model = ImageTextModel(
        source.spec,
        network,
        preprocessing=from_open_clip(settings, spec),  # type: ignore[arg-type]
        embedding_dim=int(source.config["embed_dim"]),
        tokenize=tokenize,
        build=build,
        description={
            "architecture": source.architecture,
            "pretrained": source.pretrained,
            "image_tower": type(network.visual).__name__,
            "quick_gelu": source.quick_gelu or bool(source.config.get("quick_gelu", False)),
            "parameters": sum(weight.numel() for weight in network.parameters()),
            "open_clip": str(open_clip.__version__),
        }
        | missing,
        device=_device(device),
    )
    if not source.trusted:
        _try_once(model)
    return model


def _device(device: str | None) -> str:
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def _of_another_library(source: Source, device: str | None) -> ImageTextModel:
    """A model of transformers, timm or torchvision."""
    from synesthete.models.image_text_model import ImageTextModel
    from synesthete.models.random_init import fresh_network

    maker: Maker
    if source.library == "transformers":
        from synesthete.models.transformers_models import TransformersModel

        maker = TransformersModel(source)
    else:
        from synesthete.models.vision_libraries import VisionModel

        maker = VisionModel(source)
    preprocessor = maker.preprocessor()
    side = preprocessor.settings.image_size

    def build() -> Network:
        return maker.network(maker.blank(), side)

    if maker.files:
        network = maker.network(maker.trained(), side)
        _check_finite(network, source)
    else:
        fresh = fresh_network(build, source.seed)
        network = cast("Network", fresh)
    model = ImageTextModel(
        source.spec,
        network,
        preprocessing=preprocessor.settings,
        preprocessor=preprocessor,
        embedding_dim=_embedding_dim(network, side, source),
        tokenize=None if network.text is None else maker.tokenizer(network.text),
        build=build,
        description={
            "architecture": source.architecture,
            "pretrained": source.pretrained,
            "image_tower": type(network.visual.trunk).__name__,
            "parameters": sum(weight.numel() for weight in network.parameters()),
            source.library: version(source.library),
        },
        device=_device(device),
    )
    if not source.trusted:
        _try_once(model)
    return model


class Maker(Protocol):
    """What makes a model of another library."""

    files: tuple[Path, ...]
    """Its weights; none for random ones."""

    def preprocessor(self) -> Preprocessor | TransformPreprocessor:
        """How it prepares images."""

    def blank(self) -> nn.Module:
        """The network with the library's initial weights."""

    def trained(self) -> nn.Module:
        """The network with the source's weights."""

    def network(self, model: nn.Module, side: int) -> Network:
        """The same with the interface of open_clip's."""

    def tokenizer(self, tower: TextTower) -> Tokenizer:
        """Texts to tokens."""


def _embedding_dim(network: Network, side: int, source: Source) -> int:
    import torch

    try:
        with torch.no_grad():
            return int(network.eval().encode_image(torch.zeros(1, 3, side, side)).shape[1])
    except SynestheteError as error:
        raise SynestheteError(f"{source.spec} cannot see images: {error.message}") from None
    except Exception as error:
        raise SynestheteError(
            f"{source.spec} cannot see images: {one_line(error)}",
            hint="check its configuration, or fetch or copy the model again",
        ) from error


def _load_weights(network: nn.Module, source: Source) -> None:
    from open_clip import load_checkpoint
    from open_clip.factory import load_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    from synesthete.models.building import ImageOnly

    checkpoint = source.checkpoint
    try:
        if isinstance(network, ImageOnly):
            found = source.weights() if source.weights else load_state_dict(str(checkpoint))
            own = {name: one for name, one in found.items() if name.startswith("visual.")}
            network.load_state_dict(own, strict=True)
            return
        if source.weights is None:
            load_checkpoint(network, str(checkpoint), strict=True, weights_only=True)
            return
        weights = source.weights()
        if "positional_embedding" in weights and not hasattr(network, "positional_embedding"):
            weights = convert_to_custom_text_state_dict(weights)
        network.load_state_dict(weights, strict=True)
    except SynestheteError:
        raise
    except Exception as error:
        raise SynestheteError(
            f"the weights {checkpoint} do not load into {source.spec}: {one_line(error)}",
            hint="the file is damaged or belongs to another model: fetch or copy it again",
        ) from error


def _check_finite(network: nn.Module, source: Source) -> None:
    """Refuse weights with NaN or infinity in them: whatever is computed with them means nothing."""
    import torch

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


def _try_once(model: ImageTextModel) -> None:
    """Show a model of unknown origin a blank image, so that what cannot run is found now and in one line."""
    import torch

    side = model.preprocessing.image_size
    hint = "check its configuration, or fetch or copy the model again"
    with explained(model.name, "see images", hint=hint):
        found = model.encode_images(torch.zeros(1, 3, side, side))
    if found.shape != (1, model.embedding_dim):
        raise SynestheteError(
            f"{model.name} gives embeddings of shape {found.shape[1:]}, and its configuration says"
            f" {model.embedding_dim}"
        )
