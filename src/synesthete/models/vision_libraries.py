"""Models of images only: timm's and torchvision's. Their embedding is what the classifier at their end reads."""

from __future__ import annotations

import json
import urllib.request
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from synesthete.errors import SynestheteError, near
from synesthete.models.adapter import Network, TextTower
from synesthete.models.architectures import Tower
from synesthete.models.archives import read_archive
from synesthete.models.building import quiet, refuse_larger
from synesthete.models.hub import PATIENCE, explained, fetch, offline, one_line, unreachable
from synesthete.models.places import BATCH, Place, find_places
from synesthete.models.preprocessing import TransformPreprocessor, measure
from synesthete.models.sources import Source
from synesthete.models.tokens import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

WEIGHTS, LOADING = "model.safetensors", "loading.json"


TRANSFORMED = ("googlenet", "inception_v3")


class VisionModel:
    """A model of timm or torchvision that a source describes, built as often as asked.

    Parameters
    ----------
    source
        Of `timm:` or `torchvision:`, or of a folder in timm's format.

    Raises
    ------
    SynestheteError
        The library has no such model, or no such weights; or they cannot be fetched.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        hint = f"`import {source.library}` and its version may tell more"
        self._explained = partial(explained, source.spec, hint=hint)
        self._library: _Library = (_Timm if source.library == "timm" else _Torchvision)(source)
        self.files = self._library.files()
        self._places: tuple[Place, ...] | None = None

    def preprocessor(self) -> TransformPreprocessor:
        """The library's own transform for evaluation."""
        with self._explained("be given images"):
            transform = self._library.transform()
        about = {"library": self.source.library, "architecture": self.source.architecture}
        return TransformPreprocessor(transform, measure(transform, self.source.spec, about))

    def blank(self) -> nn.Module:
        """The network with the library's initial weights."""
        with quiet(), self._explained("be built"):
            if not self.source.trusted:
                refuse_larger(self._library.build, self.source.limit)
            return self._library.build()

    def trained(self) -> nn.Module:
        """The network with the source's weights."""
        network = self.blank()
        file = self.files[0]
        try:
            if file.suffix.lower() == ".safetensors":
                from safetensors.torch import load_file

                weights = load_file(file)
            else:
                # Tensors only; nothing of a pickle is run.
                weights = read_archive(file).tensors()
            network.load_state_dict(weights, strict=True)
        except SynestheteError:
            raise
        except Exception as error:
            raise SynestheteError(
                f"the weights {file} do not load into {self.source.spec}: {one_line(error)}",
                hint="the file is damaged or belongs to another model: fetch or copy it again",
            ) from error
        return network

    def save(self, weights: Mapping[str, torch.Tensor], folder: Path) -> str:
        """Write a network with its classifier, as its library loads it.

        Parameters
        ----------
        weights
            By the names that `network` gives them.
        folder
            An empty folder.

        Returns
        -------
        str
            What `load_model` calls it, with `{folder}` where its folder is.
        """
        from synesthete.models.random_init import seeded

        with seeded(self.source.seed):
            network = self.trained() if self.files else self.blank()
        network.load_state_dict(
            network.state_dict()
            | {name.removeprefix("visual.trunk."): one.cpu() for name, one in weights.items()}
        )
        with quiet(), self._explained("be exported"):
            return self._library.save(network, folder)

    def plain_features(
        self, folder: Path, images: Sequence[Image.Image], device: str, batch: int
    ) -> npt.NDArray[np.float32]:
        """What the library itself makes of a folder that `save` wrote: normalised embeddings `[images, dimension]`."""
        with quiet(), self._explained("be exported"):
            network, transform = self._library.plain(folder), self._library.transform()
        network = self._library.headless(network.eval()).to(device)
        parts = []
        with torch.inference_mode():
            for start in range(0, len(images), batch):
                some = [transform(one.convert("RGB")) for one in images[start : start + batch]]
                parts.append(self._library.see(network, torch.stack(some).to(device)))
        return nn.functional.normalize(torch.cat(parts), dim=-1).float().cpu().numpy()

    def network(self, model: nn.Module, side: int) -> Network:
        """The same with the interface of open_clip's."""
        model = self._library.headless(model.eval())
        see = self._library.see
        if self._places is None:
            pixels = torch.zeros(BATCH, 3, side, side)
            with self._explained("be run"):
                self._places = find_places(model, lambda: see(model, pixels))
        return Network(Tower(model, see, self._places))

    def tokenizer(self, tower: TextTower) -> Tokenizer:
        """There is none."""
        raise SynestheteError(f"{self.source.spec} reads images only")


class _Library:
    """What timm and torchvision do each in their own way."""

    see: Callable[[Any, torch.Tensor], torch.Tensor]

    def __init__(self, source: Source) -> None:
        self.source, self.name = source, source.architecture

    def files(self) -> tuple[Path, ...]:
        raise NotImplementedError

    def build(self) -> nn.Module:
        raise NotImplementedError

    def transform(self) -> Callable[[Image.Image], torch.Tensor]:
        raise NotImplementedError

    def save(self, network: nn.Module, folder: Path) -> str:
        raise NotImplementedError

    def plain(self, folder: Path) -> nn.Module:
        raise NotImplementedError

    def headless(self, network: nn.Module) -> nn.Module:
        return network

    def none_such(self, known: list[str]) -> SynestheteError:
        hint = near(self.name, known) or f"it has {len(known):,}, such as {', '.join(known[:3])}"
        return SynestheteError(
            f"{self.source.spec}: {self.source.library} has no model {self.name[:80]!r}", hint=hint
        )


class _Timm(_Library):
    def __init__(self, source: Source) -> None:
        import timm

        super().__init__(source)
        if not timm.is_model(self.name.partition(".")[0]):
            raise self.none_such(timm.list_models())
        self.see = timm_features

    def files(self) -> tuple[Path, ...]:
        import timm

        if self.source.files or self.source.pretrained.startswith("random"):
            return self.source.files
        settings = timm.get_pretrained_cfg(self.name, allow_unregistered=False)
        if settings is None or not settings.hf_hub_id:
            tags = timm.list_pretrained(f"{self.name.partition('.')[0]}.*")
            raise SynestheteError(
                f"{self.source.spec} has no weights on the hub",
                hint=near(self.name, tags) or f"timm:{self.name}/random has random ones",
            )
        return (fetch(self.source.spec, settings.hf_hub_id, "model.safetensors"),)

    def build(self) -> nn.Module:
        import timm

        network: nn.Module = timm.create_model(
            self.name, pretrained=False, **self.source.config.get("arguments", {})
        )
        return network

    def transform(self) -> Callable[[Image.Image], torch.Tensor]:
        import timm.data as timm_data

        data: Any = timm_data
        with torch.device("meta"), quiet():
            network = self.build()
        settings = data.resolve_data_config(self.source.config.get("images", {}), model=network)
        transform: Callable[[Image.Image], torch.Tensor] = data.create_transform(
            **settings, is_training=False
        )
        return transform

    def save(self, network: nn.Module, folder: Path) -> str:
        import timm

        save: Any = timm.models.save_for_hf
        save(network, folder, safe_serialization=True, data_config=self.source.config.get("images"))
        return "local-dir:{folder}"

    def plain(self, folder: Path) -> nn.Module:
        import timm

        network: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
        return network


class _Torchvision(_Library):
    def __init__(self, source: Source) -> None:
        from torchvision import models

        super().__init__(source)
        if self.name not in models.list_models(module=models):
            raise self.none_such(models.list_models(module=models))
        self.see = plain_features
        tags, tag = models.get_model_weights(self.name), source.pretrained
        named = not tag.startswith("random") and not source.files
        if named and tag not in (*tags.__members__, "DEFAULT"):
            known = [*tags.__members__, "random"]
            raise SynestheteError(
                f"torchvision has no weights {tag[:60]!r} for {self.name}",
                hint="; ".join(filter(None, [near(tag, known), "it has " + ", ".join(known)])),
            )
        self._weights: Any = tags[tag] if named else tags.DEFAULT

    def files(self) -> tuple[Path, ...]:
        if self.source.files or self.source.pretrained.startswith("random"):
            return self.source.files
        url = self._weights.url
        name = url.rpartition("/")[2]
        file = Path(torch.hub.get_dir()) / "checkpoints" / name
        if not file.is_file():
            if offline():
                raise unreachable(self.source.spec, "", "HF_HUB_OFFLINE forbids it")
            file.parent.mkdir(parents=True, exist_ok=True)
            prefix = name.rpartition("-")[2].partition(".")[0]
            try:
                # Which waits for ever by itself where nobody answers.
                urllib.request.urlopen(url, timeout=PATIENCE).close()
                torch.hub.download_url_to_file(url, str(file), prefix, progress=False)
            except Exception as error:
                raise unreachable(self.source.spec, "", one_line(error, 160)) from error
        return (file,)

    def build(self) -> nn.Module:
        from torchvision import models

        with warnings.catch_warnings():
            # Of GoogLeNet and Inception, that their initial weights will be others one day.
            warnings.simplefilter("ignore", FutureWarning)
            network: nn.Module = models.get_model(self.name, weights=None, **self._more)
        return network

    @property
    def _more(self) -> dict[str, bool]:
        """What torchvision sets beside the trained weights of GoogLeNet and Inception: their pixels are scaled once more."""
        return {"transform_input": True} if self.name in TRANSFORMED else {}

    def transform(self) -> Callable[[Image.Image], torch.Tensor]:
        transform: Callable[[Image.Image], torch.Tensor] = self._weights.transforms()
        return transform

    def save(self, network: nn.Module, folder: Path) -> str:
        import torchvision

        about = {"library": "torchvision", "version": torchvision.__version__, "architecture": self.name}  # fmt: skip
        more = "".join(f", {name}={value}" for name, value in self._more.items())
        build = f"network = torchvision.models.get_model({self.name!r}, weights=None{more})"
        save_weights(network, folder, about, build)
        return f"torchvision:{self.name}@{{folder}}/{WEIGHTS}"

    def plain(self, folder: Path) -> nn.Module:
        from safetensors.torch import load_file

        network = self.build()
        network.load_state_dict(load_file(folder / WEIGHTS), strict=True)
        return network

    def headless(self, network: nn.Module) -> nn.Module:
        """Without the classifier, the last of the linear layers; SqueezeNet has none, and its embedding is its logits."""
        linear = [name for name, one in network.named_modules() if isinstance(one, nn.Linear)]
        linear = [name for name in linear if not name.lower().startswith("aux")]
        if linear:
            parent, _, last = linear[-1].rpartition(".")
            setattr(network.get_submodule(parent), last, nn.Identity())
        return network


def save_weights(network: nn.Module, folder: Path, about: Mapping[str, str], build: str) -> None:
    """Write a network's weights, and beside them what it is and the lines of Python that load it."""
    from safetensors.torch import save_file

    # Every tensor on its own: tied weights would be refused.
    weights = {name: one.detach().cpu().clone() for name, one in network.state_dict().items()}
    save_file({name: one.contiguous() for name, one in weights.items()}, folder / WEIGHTS)
    load = f"network.load_state_dict(safetensors.torch.load_file({WEIGHTS!r}))"
    text = json.dumps({**about, "weights": WEIGHTS, "load": [build, load]}, indent=2)
    (folder / LOADING).write_text(text + "\n", encoding="utf-8")


def timm_features(trunk: Any, pixels: torch.Tensor) -> torch.Tensor:
    """What timm's classifier reads."""
    found: torch.Tensor = trunk.forward_head(trunk.forward_features(pixels), pre_logits=True)
    return found.flatten(1)


def plain_features(trunk: Any, pixels: torch.Tensor) -> torch.Tensor:
    """What a network gives, a vector for each image."""
    found = trunk(pixels)
    found = found[0] if isinstance(found, tuple) else found
    tensor: torch.Tensor = found
    return tensor.flatten(1)
