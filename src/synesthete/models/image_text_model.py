"""A model that sees images and reads texts, and whose towers can be read unit by unit."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from synesthete.errors import SynestheteError, near
from synesthete.models.activations import (
    JOINT,
    Layer,
    Precision,
    Reading,
    Responses,
    TextReading,
    TextReduction,
    Tower,
    check_reduction,
    check_text_reduction,
    reduce,
)
from synesthete.models.adapter import TextTower
from synesthete.models.architectures import (
    Site,
    default_layer,
    find_sites,
    find_taps,
    find_text_sites,
    find_text_taps,
    with_dictionary,
)
from synesthete.models.dictionaries import RANDOM_DICTIONARY, SparseDictionary, split_layer
from synesthete.models.heads import Rewrite
from synesthete.models.hooks import Tap, capture
from synesthete.models.hub import explained
from synesthete.models.hub_text import HubTower
from synesthete.models.interventions import Change, intervene, rewriting
from synesthete.models.preprocessing import Preprocessing, Preprocessor, TransformPreprocessor
from synesthete.models.random_init import twin_of
from synesthete.models.text import encode_text, reduce_texts, spans_of, text_tower
from synesthete.models.tokens import Token, Tokenizer

TEXTS_PER_PASS = 256
TextEncoder: TypeAlias = Callable[[list[str]], torch.Tensor]


class _Edits(Protocol):
    """Edits as `synesthete.editing` has them."""

    def changes(self, model: ImageTextModel) -> list[Change]: ...


class ImageTextModel:
    """An image-text model, opened with `load_model` or wrapped with `wrap`; one without a text tower reads images only.

    Parameters
    ----------
    name
        What the user called it.
    network
        open_clip's CLIP, CustomTextCLIP or CoCa, or a `Network` with towers of another library.
    preprocessing
        How images are made into tensors.
    embedding_dim
        Length of an embedding.
    tokenize
        Texts to token ids `[texts, context]`; None for a model whose texts, if it reads any, `encode` reads.
    build
        Makes the same network with the library's initial weights, for the random twin.
    description
        What it is: architecture, pretrained, parameters, version of the library.
    device
        Where it runs.
    preprocessor
        Prepares images where open_clip does not.
    encode
        From texts to embeddings `[texts, dimension]`, of a model whose text tower is not read.

    Attributes
    ----------
    network
        The network itself, in evaluation mode, float32.
    dictionaries
        The sparse dictionaries whose latents are layers, by the name of the layer: `LAYER@NAME`.
    precision
        Of the passes of images: `fp32`, or `bf16` (see `at_precision`).
    """

    precision: Precision = "fp32"

    def __init__(
        self,
        name: str,
        network: nn.Module,
        *,
        preprocessing: Preprocessing,
        embedding_dim: int,
        tokenize: Tokenizer | None,
        build: Callable[[], nn.Module],
        description: dict[str, Any],
        device: str = "cpu",
        preprocessor: Preprocessor | TransformPreprocessor | None = None,
        encode: TextEncoder | None = None,
    ) -> None:
        self.name = name
        self.preprocessing = preprocessing
        self.embedding_dim = embedding_dim
        self.description = description
        self.device = torch.device(device)
        self._tokenize = tokenize
        self._build = build
        self._encode = encode
        self._preprocessor = preprocessor or Preprocessor(preprocessing)
        # Hooks belong to the network, so a second reading at the same time would answer the first one's.
        self._lock = threading.RLock()
        network.eval()
        self._taps = find_taps(_visual(network))
        self._text_tower = text_tower(network)
        self._text_taps = find_text_taps(self._text_tower)
        self._sites = find_sites(_visual(network), self._taps) | find_text_sites(self._text_taps)
        self.dictionaries: Mapping[str, SparseDictionary] = MappingProxyType({})
        # Measured on two CPU cores: mini 14 %, RN50 20 to 35 % faster when channels lie together.
        self._memory_format = (
            torch.channels_last if _is_convolutional(self._taps) else torch.contiguous_format
        )
        self.network = (
            network.requires_grad_(False).to(
                self.device, torch.float32, memory_format=self._memory_format
            )  # type: ignore[call-overload]
        )

    def __repr__(self) -> str:
        return f"<ImageTextModel {self.name}: {self.description.get('architecture', '')}>"

    def geometry(self, image: Image.Image) -> Image.Image:
        """The scaled and cropped RGB image that the model sees, `image_size` pixels square."""
        return self._preprocessor.geometry(image)

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """The image as a normalised tensor `[3, height, width]`, equal to the library's own."""
        return self._preprocessor.tensor(image)

    def preprocess_all(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """What `preprocess` gives of images that `geometry` made, `[images, 3, height, width]`; bit for bit, and three times as fast."""
        return self._preprocessor.tensors(images)

    @cached_property
    def weights_sha256(self) -> str:
        """SHA-256 over every weight and buffer: name, type, shape and bytes, sorted by name."""
        digest = hashlib.sha256()
        for key, tensor in sorted(self.network.state_dict().items()):
            plain = tensor.detach().cpu().contiguous()
            digest.update(f"{key} {plain.dtype} {tuple(plain.shape)}\n".encode())
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    @property
    def default_layers(self) -> list[str]:
        """What is read when nobody names a layer: the last block of a ResNet, the last MLP of a ViT."""
        return [default_layer(self._taps)]

    def layers(self, tower: Tower | None = None) -> list[Layer]:
        """Every layer that can be read: the image tower's, the text tower's, each in the order of the forward pass, `joint`.

        Parameters
        ----------
        tower
            `"image"`, `"text"` or `"joint"`, for those of one only.
        """
        return [one for one in self._layers.values() if tower in (None, one.tower)]

    def layer(self, name: str) -> Layer:
        """One layer by name.

        Raises
        ------
        SynestheteError
            If there is no such layer; the message lists those there are, near matches first.
        """
        if name not in self._layer_names:
            raise self._no_layer(name)
        return self._layers[name]

    def encode_images(self, pixels: torch.Tensor) -> npt.NDArray[np.float32]:
        """L2-normalised embeddings `[batch, dimension]` of tensors that `preprocess` made.

        Raises
        ------
        SynestheteError
            Pixels of another shape, or an embedding that is not finite.
        """
        with self._running(pixels) as ready:
            embeddings = _numpy(self._embed(ready))
            self._check_finite(ready, embeddings)
        return embeddings

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """L2-normalised embeddings `[texts, dimension]`; the tokenizer cuts what is too long.

        Raises
        ------
        SynestheteError
            No text tower or tokenizer, one that does not fit the other, or embeddings that are not finite.
        """
        self._check_reads_texts()
        parts = [np.zeros((0, self.embedding_dim), np.float32)]
        with self._lock, torch.inference_mode():
            for start in range(0, len(texts), TEXTS_PER_PASS):
                if self._encode is not None:
                    parts.append(self._encoded(list(texts[start : start + TEXTS_PER_PASS])))
                else:
                    parts.append(self._embed_texts(self._tokens(texts, start)))
        return np.concatenate(parts)

    def tokens(self, text: str) -> list[Token]:
        """The tokens of a text with the characters that they stand for, in the order of their positions.

        The positions of `read_texts` are indices into this list; it goes on where the model stops reading.

        Examples
        --------
        >>> from synesthete.models import load_model
        >>> [token.text for token in load_model("mini").tokens("Two  anteaters")]
        ['', 'Two', 'ante', 'aters', '']
        """
        return self._tokenizer.tokens(text)

    @property
    def reads_texts(self) -> bool:
        """Whether it embeds texts; a model of images only does not."""
        return self._tokenize is not None or self._encode is not None

    def _check_reads_texts(self) -> None:
        if not self.reads_texts:
            raise SynestheteError(
                f"{self.name} reads images only, and this needs a text tower",
                hint="names from words, zero-shot accuracy and texts need an image-text model",
            )

    @property
    def _tokenizer(self) -> Tokenizer:
        self._check_reads_texts()
        if self._tokenize is None:
            raise SynestheteError(
                f"the text tower of {self.name} was given as a function, and its tokens are not known"
            )
        return self._tokenize

    def token_ids(self, texts: Sequence[str]) -> torch.Tensor:
        """Token ids `[texts, context]` as the text tower is given them, padding below 0 for one of transformers."""
        return self._tokenizer(list(texts)).to(self.device)

    @property
    def context_length(self) -> int:
        """How many tokens of a text the model reads, its start and end included."""
        return len(self._empty_text)

    def read_texts(
        self, texts: Sequence[str], layers: Sequence[str], reduction: str = "end"
    ) -> TextReading:
        """Embeddings and unit activations of texts, as `read` gives them of images.

        Parameters
        ----------
        texts
            Texts of any length; what is beyond the context is cut off, and the reading says of which.
        layers
            Layers of the text tower, and `joint`.
        reduction
            `end`, where the tower reads its embedding (the end-of-text token); `max` or `mean` over the text's own tokens,
            its end included, padding and the token that every text starts with not.

        Raises
        ------
        SynestheteError
            As `read` and `encode_texts`.
        """
        self._check_reads_texts()
        how = check_text_reduction(reduction)
        names = list(dict.fromkeys(layers))
        taps = [self._tap(name, "text") for name in names if name != JOINT]
        parts = [
            self._read_texts(texts, start, taps, how)
            for start in range(0, max(len(texts), 1), TEXTS_PER_PASS)
        ]
        embeddings = np.concatenate([part.embeddings for part in parts])
        reading = TextReading(
            embeddings, truncated=np.concatenate([part.truncated for part in parts])
        )
        for tap in taps:
            for kind in ("activations", "positions"):
                found = [getattr(part, kind)[tap.layer] for part in parts]
                getattr(reading, kind)[tap.layer] = np.concatenate(found)
        if JOINT in names:
            _add_joint(reading)
        return reading

    def _read_texts(
        self, texts: Sequence[str], start: int, taps: Sequence[Tap], how: TextReduction
    ) -> TextReading:
        """One pass: `TEXTS_PER_PASS` texts from `start` on."""
        if not len(texts):
            reading = TextReading(np.zeros((0, self.embedding_dim), np.float32))
            for tap in taps:
                units = self._layers[tap.layer].units
                reading.activations[tap.layer] = np.zeros((0, units), np.float32)
                reading.positions[tap.layer] = np.zeros((0, units), np.int16)
            return reading
        if self._encode is not None:
            with self._lock, torch.inference_mode():
                own = self._encoded(list(texts[start : start + TEXTS_PER_PASS]))
            return TextReading(own, truncated=np.zeros(len(own), np.bool_))
        with self._lock, torch.inference_mode():
            tokens = self._tokens(texts, start)
            spans = spans_of(self._text_tower, tokens, self._empty_text) if taps else None

            def take(tap: Tap, responses: Responses) -> tuple[torch.Tensor, torch.Tensor]:
                assert spans is not None
                return reduce_texts(responses, how, spans)

            with capture(taps, take) as taken:
                embeddings = self._embed_texts(tokens)
        reading = TextReading(embeddings, truncated=self._truncated(texts, start, tokens))
        for tap in taps:
            values, positions = taken[tap.layer]
            if isinstance(self._text_tower, TextTower):
                # Where the padding stands in front, the tokens of a text begin behind it.
                padded = (tokens >= 0).int().argmax(dim=1)[:, None]
                positions = positions.where(positions < 0, positions - padded)
            reading.activations[tap.layer] = _numpy(values)
            reading.positions[tap.layer] = positions.to("cpu", torch.int16).numpy()
            if not np.isfinite(reading.activations[tap.layer]).all():
                raise SynestheteError(
                    f"{self.name} gives NaN or infinity at {tap.layer} for a text",
                    hint="its weights are damaged or too large, or an edit is too strong",
                )
        return reading

    def _tokens(self, texts: Sequence[str], start: int) -> torch.Tensor:
        return self.token_ids(texts[start : start + TEXTS_PER_PASS])

    @cached_property
    def _empty_text(self) -> torch.Tensor:
        return self._tokenizer([""])[0].to(self.device)

    def _truncated(
        self, texts: Sequence[str], start: int, tokens: torch.Tensor
    ) -> npt.NDArray[np.bool_]:
        context = tokens.shape[1]
        # A text that was cut fills the context; only of those the tokens need to be counted.
        full = (tokens[:, -2:] != self._empty_text[-2:]).any(dim=1)
        return np.array(
            [
                bool(fills) and self._tokenizer.count(texts[start + row]) > context
                for row, fills in enumerate(full.tolist())
            ],
            dtype=np.bool_,
        )

    def _embed_texts(self, tokens: torch.Tensor) -> npt.NDArray[np.float32]:
        return self._checked_texts(lambda: encode_text(self.network, tokens))

    def _encoded(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """What the function makes of texts that stands for a text tower."""
        assert self._encode is not None
        encode = self._encode
        return self._checked_texts(lambda: nn.functional.normalize(encode(texts).float(), dim=-1))

    def _checked_texts(self, embed: Callable[[], torch.Tensor]) -> npt.NDArray[np.float32]:
        with explained(self.name, "read texts"):
            found = _numpy(embed())
        if found.shape[1:] != (self.embedding_dim,):
            raise SynestheteError(
                f"{self.name} gives embeddings of texts of shape {found.shape[1:]},"
                f" and its configuration says {self.embedding_dim}"
            )
        if not np.isfinite(found).all():
            raise SynestheteError(
                f"{self.name} gives NaN or infinity at the embedding of a text",
                hint="its weights are damaged or too large",
            )
        return found

    def read(self, pixels: torch.Tensor, layers: Sequence[str], reduction: str = "max") -> Reading:
        """Embeddings and unit activations of a batch, in one forward pass.

        Parameters
        ----------
        pixels
            `[batch, 3, height, width]`, from `preprocess`.
        layers
            Names of the image tower's layers, and `joint`.
        reduction
            `max` or `mean` over the positions of a unit's response map (patches only: a class token
            does not count), or `cls`, the class token.

        Raises
        ------
        SynestheteError
            No such layer, no such reduction, `cls` without a class token, pixels of another shape; or the model
            gives NaN or infinity (the message names the first layer that does).
        """
        how = check_reduction(reduction)
        names = list(dict.fromkeys(layers))
        taps = [self._tap(name) for name in names if name != JOINT]

        def take(
            tap: Tap, responses: Responses
        ) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
            return (*reduce(responses, how, tap.layer), responses.grid)

        with self._running(pixels) as ready:
            with capture(taps, take) as taken:
                embeddings = self._embed(ready)
            reading = Reading(_numpy(embeddings))
            for tap in taps:
                values, positions, reading.grids[tap.layer] = taken[tap.layer]
                reading.activations[tap.layer] = _numpy(values)
                reading.positions[tap.layer] = positions.to("cpu", torch.int16).numpy()
            self._check_finite(ready, reading.embeddings, *reading.activations.values())
        if JOINT in names:
            _add_joint(reading)
        return reading

    def maps(self, pixels: torch.Tensor, layer: str) -> torch.Tensor:
        """Response maps of a batch, `[batch, units, rows, columns]`, float32, on the CPU."""

        def take(tap: Tap, responses: Responses) -> torch.Tensor:
            batch, _, units = responses.patches.shape
            by_unit = responses.patches.transpose(1, 2).reshape(batch, units, *responses.grid)
            return by_unit.to("cpu", copy=True)

        with self._running(pixels) as ready:
            with capture([self._tap(layer)], take) as taken:
                self._embed(ready)
            self._check_finite(ready, taken[layer].numpy())
        # A clone made out here is an ordinary tensor that autograd accepts.
        return taken[layer].contiguous().clone()

    @contextmanager
    def changed(self, changes: Sequence[Change]) -> Iterator[None]:
        """Make `changes` in every pass of this model inside the context; other threads wait.

        Raises
        ------
        SynestheteError
            No such layer, or (from the pass) no such unit.
        """
        with self._lock, intervene([(self.site(change.layer), change) for change in changes]):
            yield

    @contextmanager
    def edited(self, edits: _Edits) -> Iterator[None]:
        """The model as `edits` (of `synesthete.editing`) make it, inside the context; other threads wait.

        Raises
        ------
        SynestheteError
            Edits that were made for another model, or of units that it does not have.
        """
        with self.changed(edits.changes(self)):
            yield

    @contextmanager
    def rewritten(self, rewrites: Sequence[tuple[str, Rewrite]]) -> Iterator[None]:
        """Let every pass inside the context go on with what functions make of the responses of layers.

        Parameters
        ----------
        rewrites
            Layers (or other `sites`), each with a function of its responses `[..., units]`, of heads `[..., heads, width]`.
        """
        with self._lock, rewriting([(self.site(name), rewrite) for name, rewrite in rewrites]):
            yield

    def sites(self, tower: Tower | None = None) -> list[Layer]:
        """Every place where units can be changed: the towers' layers, channels inside blocks, attention heads.

        Parameters
        ----------
        tower
            `"image"` or `"text"`, for those of one only.
        """
        return [one for one in self._changeable.values() if tower in (None, one.tower)]

    def site(self, name: str) -> Site:
        """One of `sites` by name.

        Raises
        ------
        SynestheteError
            If there is no such place; the message says which are near.
        """
        if name in self._sites:
            return self._sites[name]
        hint = near(name, self._sites) or f"it has {', '.join(self._sites)}"
        raise SynestheteError(f"{self.name} has no layer {name!r} to change", hint=hint)

    def at_precision(self, precision: Precision) -> ImageTextModel:
        """The model with an image tower that computes in another precision; of this model itself where it does so already.

        With `bf16` the tower is a copy with its weights rounded to bfloat16, except those of batch normalisation. Embeddings and
        activations are given in float32 as before, and `weights_sha256` is that of the float32 weights. Texts stay in float32. Such a model is
        for reading: gradients and edits are of the float32 one.

        Raises
        ------
        SynestheteError
            The tower cannot compute in it.
        """
        if precision == self.precision:
            return self
        if self.precision != "fp32":
            raise SynestheteError(f"{self.name} was rounded to {self.precision}; open it again")
        visual = copy.deepcopy(_visual(self.network)).to(torch.bfloat16)
        for module in visual.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.float()
        found = copy.copy(self)
        found.__dict__["weights_sha256"] = self.weights_sha256
        found.precision = precision
        # The text tower is the same one.
        found.network = copy.copy(self.network)
        found.network._modules = {**self.network._modules, "visual": visual}
        found._taps = find_taps(visual)
        found._sites = find_sites(visual, found._taps) | find_text_sites(found._text_taps)
        found.dictionaries = MappingProxyType({})
        with explained(self.name, f"compute in {precision}"):
            found._measured(list(found._taps.values()))
        return found.with_dictionaries(self.dictionaries)

    def with_dictionary(
        self, layer: str, name: str, dictionary: SparseDictionary
    ) -> ImageTextModel:
        """The model with one more layer, `layer@name`: the latents of a sparse dictionary of a layer. The network is the same one.

        Raises
        ------
        SynestheteError
            No such layer, one without responses at places (`joint`), a dictionary of another number of units, or another
            dictionary of this name.
        """
        full = f"{layer}@{name}"
        base = self.layer(layer)
        if layer == JOINT:
            raise SynestheteError(
                f"{JOINT} is the embedding itself, which has no dictionary of its places",
                hint="`synesthete joint` learns one of the embeddings",
            )
        if dictionary.dim != base.units:
            raise SynestheteError(
                f"the dictionary {name} is of {dictionary.dim:,} units, and {layer} has {base.units:,}",
                hint="name the layer that it was trained on",
            )
        known = [one for key, one in self.dictionaries.items() if key.endswith(f"@{name}")]
        if any(one.sha256 != dictionary.sha256 for one in known):
            raise SynestheteError(f"two dictionaries are called {name}", hint="rename one of them")
        if full in self.dictionaries:
            return self
        found = copy.copy(self)
        for cached in ("_layers", "_changeable"):
            found.__dict__.pop(cached, None)
        found._taps, found._text_taps = (
            with_dictionary(taps, layer, name, dictionary) for taps in (self._taps, self._text_taps)
        )
        mine = (found._taps | found._text_taps)[full]
        found._sites = {**self._sites, full: mine}
        found.dictionaries = MappingProxyType({**self.dictionaries, full: dictionary})
        return found

    def with_dictionaries(self, dictionaries: Mapping[str, SparseDictionary]) -> ImageTextModel:
        """The model with the layers `LAYER@NAME` of dictionaries."""
        found = self
        for full, dictionary in dictionaries.items():
            layer, name = split_layer(full)
            found = found.with_dictionary(layer, name, dictionary)
        return found

    def random_twin(self, seed: int = 0) -> ImageTextModel:
        """The same architecture with random weights: the control for everything that is counted.

        The caller's random numbers stay as they were. Short for `twin("random_twin", seed)`.
        """
        return self.twin("random_twin", seed)

    def twin(self, kind: str, seed: int = 0) -> ImageTextModel:
        """The same architecture with weights that know nothing: `random_twin`, `random_he` or `permuted`.

        See `synesthete.models.random_init.twin_of` for the weights. It has the same dictionaries. `random_dictionary` is this
        network itself with random directions in place of its dictionaries'.

        Raises
        ------
        SynestheteError
            When there is no such kind.
        """
        if kind == RANDOM_DICTIONARY:
            found = copy.copy(self)
            found.dictionaries = MappingProxyType(
                {full: one.random(seed) for full, one in self.dictionaries.items()}
            )
            for taps in ("_taps", "_text_taps", "_sites"):
                mine = {
                    key: replace(tap, dictionary=found.dictionaries[key])
                    if isinstance(tap, Tap) and key in found.dictionaries
                    else tap
                    for key, tap in getattr(self, taps).items()
                }
                setattr(found, taps, mine)
            return found
        network = twin_of(
            kind, self.network, self._build, seed=seed, side=self.preprocessing.image_size
        )
        drawn = "permuted" if kind == "permuted" else "random"
        twin = ImageTextModel(
            f"{self.name} ({kind.replace('_', ' ')} {seed})",
            network,
            preprocessing=self.preprocessing,
            embedding_dim=self.embedding_dim,
            tokenize=self._tokenize,
            build=self._build,
            description=self.description | {"pretrained": f"{drawn}:{seed}"},
            device=str(self.device),
            preprocessor=self._preprocessor,
            encode=self._encode,
        )
        return twin.with_dictionaries(self.dictionaries)

    def positions(self, inputs: torch.Tensor | Sequence[str], layer: str) -> torch.Tensor:
        """What a layer says at every place of a batch of images, or at every token of texts: what a dictionary is trained on.

        Parameters
        ----------
        inputs
            Pixels `[batch, 3, height, width]`; or texts, for a layer that reads them.
        layer
            The layer.

        Returns
        -------
        Tensor
            `[places, units]` on the CPU: of an image every position, its class token among them where there is one; of a text its
            own tokens, its end included, padding and the token that every text starts with not.
        """
        if isinstance(inputs, torch.Tensor):

            def take(tap: Tap, responses: Responses) -> torch.Tensor:
                parts = [responses.patches]
                if responses.cls is not None:
                    parts.insert(0, responses.cls[:, None])
                return torch.cat(parts, dim=1).flatten(0, 1).to("cpu", copy=True)

            with self._running(inputs) as ready, capture([self._tap(layer)], take) as taken:
                self._embed(ready)
        else:
            tap = self._tap(layer, "text")
            with self._lock, torch.inference_mode():
                tokens = self._tokenizer(list(inputs)).to(self.device)
                spans = spans_of(self._text_tower, tokens, self._empty_text)

                def take_tokens(tap: Tap, responses: Responses) -> torch.Tensor:
                    places = torch.arange(responses.patches.shape[1], device=self.device)[None]
                    own = (places >= spans.first[:, None]) & (places < spans.stop[:, None])
                    return responses.patches[own].to("cpu", copy=True)

                with capture([tap], take_tokens) as taken:
                    self._embed_texts(tokens)
        if not bool(taken[layer].isfinite().all()):
            raise SynestheteError(
                f"{self.name} gives NaN or infinity at {layer}",
                hint="its weights are damaged or too large",
            )
        return taken[layer].clone()

    def _embed(self, ready: torch.Tensor) -> torch.Tensor:
        if self.precision == "fp32":
            found: torch.Tensor = self.network.encode_image(ready, normalize=True)
            return found
        return nn.functional.normalize(
            self.network.encode_image(ready, normalize=False).float(), dim=-1
        )

    def _check_finite(self, ready: torch.Tensor, *found: npt.NDArray[np.float32]) -> None:
        """Refuse what a pass gave if NaN or infinity is in it, and say where they come from.

        Raises
        ------
        SynestheteError
            Naming the first layer that is not finite.
        """
        if all(np.isfinite(values).all() for values in found):
            return
        if not bool(ready.isfinite().all()):
            raise SynestheteError(f"{self.name} was given pixels that hold NaN or infinity")

        def take(tap: Tap, responses: Responses) -> torch.Tensor:
            seen = responses.patches.flatten(1).isfinite().all(dim=1)
            return seen if responses.cls is None else seen & responses.cls.isfinite().all(dim=1)

        with capture(list(self._taps.values()), take) as taken:
            embedded = self._embed(ready).isfinite().all(dim=1)
        fine = {tap.layer: taken[tap.layer] for tap in self._taps.values()}
        where, images = next(
            ((name, ok) for name, ok in fine.items() if not bool(ok.all())),
            ("the embedding", embedded),
        )
        raise SynestheteError(
            f"{self.name} gives NaN or infinity at {where} for {int((~images).sum())} of {len(images)} images",
            hint="its weights are damaged or too large, or an edit is too strong",
        )

    def _tap(self, name: str, tower: Tower = "image") -> Tap:
        taps, others = self._taps, self._text_taps
        if tower == "text":
            taps, others = others, taps
        if name in taps:
            return taps[name]
        if name in others:
            given, wanted = ("texts", "images") if tower == "image" else ("images", "texts")
            raise SynestheteError(f"{name} of {self.name} reads {given}, not {wanted}")
        if name == JOINT:
            raise SynestheteError(f"{JOINT} is the embedding itself, which has no response map")
        raise self._no_layer(name)

    @property
    def _layer_names(self) -> list[str]:
        return [*self._taps, *self._text_taps, JOINT]

    def _no_layer(self, name: str) -> SynestheteError:
        known = self._layer_names
        hint = "; ".join(filter(None, [near(name, known), f"it has {', '.join(known)}"]))
        return SynestheteError(f"{self.name} has no layer {name!r}", hint=hint)

    @cached_property
    def _layers(self) -> dict[str, Layer]:
        # One blank image and text tell units and grids of every architecture, and that every tap is reached.
        found = self._measured(list(self._taps.values()))
        found |= self._measured_texts(list(self._text_taps.values()))
        tower: Tower = "joint" if self.reads_texts else "image"
        return found | {JOINT: Layer(JOINT, self.embedding_dim, "embedding", None, tower)}

    @cached_property
    def _changeable(self) -> dict[str, Layer]:
        sites = [one for one in self._sites.values() if isinstance(one, Tap)]
        of_text = [one for one in sites if one.layer in self._text_taps]
        measured = self._measured([one for one in sites if one not in of_text])
        measured |= self._measured_texts(of_text)
        return {
            name: measured[name]
            if isinstance(site, Tap)
            else Layer(name, site.count, site.kind, None, _tower_of(name))
            for name, site in self._sites.items()
        }

    def _measured(self, taps: Sequence[Tap]) -> dict[str, Layer]:
        def take(tap: Tap, responses: Responses) -> Layer:
            return Layer(tap.layer, int(responses.patches.shape[2]), tap.kind, responses.grid)

        with self._lock, capture(taps, take) as taken:
            self.blank_pass("image")
        return {tap.layer: taken[tap.layer] for tap in taps}

    def _measured_texts(self, taps: Sequence[Tap]) -> dict[str, Layer]:
        if not taps:
            return {}

        def take(tap: Tap, responses: Responses) -> Layer:
            return Layer(tap.layer, int(responses.patches.shape[2]), tap.kind, None, "text")

        with self._lock, capture(taps, take) as taken:
            self.blank_pass("text")
        return {tap.layer: taken[tap.layer] for tap in taps}

    def blank_pass(self, tower: Literal["image", "text"]) -> None:
        """Run a tower on a blank image or on some tokens, for what hooks see of it."""
        if tower == "image":
            side = self.preprocessing.image_size
            with self._running(torch.zeros(1, 3, side, side)) as ready:
                self._embed(ready)
            return
        # Made here, as a tokenizer may lie on the hub.
        text: Any = self._text_tower
        if isinstance(text, HubTower):
            tokens = text.sample_tokens()
        else:
            tokens = torch.ones(1, int(text.context_length), dtype=torch.long, device=self.device)
        with self._lock, torch.inference_mode():
            encode_text(self.network, tokens)

    @contextmanager
    def _running(self, pixels: torch.Tensor) -> Iterator[torch.Tensor]:
        """The tensor ready for a pass of exactly this precision, alone on this network."""
        side = self.preprocessing.image_size
        if pixels.ndim != 4 or pixels.shape[1:] != (3, side, side):
            raise SynestheteError(
                f"{self.name} was given pixels of shape {tuple(pixels.shape)},"
                f" expected (batch, 3, {side}, {side})",
                hint="make them with preprocess",
            )
        exact = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with self._lock, torch.inference_mode(), exact:
            self.network.eval()
            dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
            there = pixels.to(self.device, non_blocking=True)
            yield there.to(dtype, memory_format=self._memory_format)


def _visual(network: nn.Module) -> nn.Module:
    visual = getattr(network, "visual", None)
    if not isinstance(visual, nn.Module):
        raise SynestheteError(f"a {type(network).__name__} has no image tower")
    return visual


def _tower_of(layer: str) -> Tower:
    return "text" if layer.startswith("text.") else "image"


def _add_joint(reading: Reading) -> None:
    reading.activations[JOINT] = reading.embeddings
    reading.positions[JOINT] = np.full(reading.embeddings.shape, -1, np.int16)


def _is_convolutional(taps: dict[str, Tap]) -> bool:
    return all(tap.kind == "block" for tap in taps.values())


def _numpy(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(tensor.to("cpu", torch.float32).numpy())
