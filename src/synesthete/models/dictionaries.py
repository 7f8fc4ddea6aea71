"""Sparse dictionaries of a layer: what its latents are at a position, and how a changed latent changes the layer.

Kept in SAELens' format (`cfg.json` and `sae_weights.safetensors`), which SAELens reads too; others' are read by `dictionary_formats`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from synesthete._core.arrays import Float32

if TYPE_CHECKING:
    import torch


CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
RANDOM_DICTIONARY = "random_dictionary"
UNKNOWN_L0 = 32  # latents of a random dictionary beside one whose own number is not known
EPSILON = 1e-5  # of SAELens' layer norm


class _Tensors(NamedTuple):
    encoder: torch.Tensor
    encoder_bias: torch.Tensor
    decoder: torch.Tensor
    threshold: torch.Tensor | None


@dataclass(frozen=True, kw_only=True)
class SparseDictionary:
    """A layer's responses at one position as a sum of few directions: `x ≈ f(x) @ decoder + decoder_bias`.

    Latents are `f(x) = activation(x @ encoder + encoder_bias)`: with `k`, the `k` largest where positive (TopK, Gao et al. 2024,
    arXiv 2406.04093); without, those above their threshold (JumpReLU, Rajamanoharan et al. 2024, arXiv 2407.14435; ReLU is threshold 0).

    Attributes
    ----------
    encoder, encoder_bias
        `[dim, latents]` and `[latents]`.
    decoder, decoder_bias
        `[latents, dim]` and `[dim]`.
    threshold
        `[latents]`, at least 0; None with `k`.
    k
        How many latents are not zero, at most; None with thresholds.
    rectified
        Whether negative ones among the `k` largest are set to zero.
    layer_norm
        Whether responses are centred and scaled to unit variance first, and what is rebuilt is scaled back.
    facts
        What is known of its training, as JSON values.
    """

    encoder: Float32
    encoder_bias: Float32
    decoder: Float32
    decoder_bias: Float32
    threshold: Float32 | None = None
    k: int | None = None
    rectified: bool = True
    layer_norm: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """Units of the layer that it is of."""
        return int(self.decoder.shape[1])

    @property
    def latents(self) -> int:
        """How many latents there are."""
        return int(self.decoder.shape[0])

    @property
    def kind(self) -> str:
        """`topk`, `jumprelu`, or `standard` (ReLU), as SAELens calls them."""
        if self.threshold is None:
            return "topk"
        return "jumprelu" if self.threshold.any() else "standard"

    @cached_property
    def sha256(self) -> str:
        """Of all that decides the latents."""
        digest = hashlib.sha256(f"{self.k} {self.rectified} {self.layer_norm}".encode())
        for name, values in sorted(self.tensors().items()):
            digest.update(f"{name} {values.shape}\n".encode())
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def pre_activations(self, x: torch.Tensor) -> torch.Tensor:
        """Latents `[..., latents]` of responses `[..., dim]` before their activation function, which is where a slope is."""
        parts = self._on(x.device)
        if self.layer_norm:
            x = x - x.mean(dim=-1, keepdim=True)
            x = x / (x.std(dim=-1, keepdim=True) + EPSILON)
        return x @ parts.encoder + parts.encoder_bias

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Latents `[..., latents]` of responses `[..., dim]`."""
        pre = self.pre_activations(x)
        if self.k is None:
            threshold = self._on(x.device).threshold
            assert threshold is not None
            return pre.masked_fill(~(pre > threshold), 0.0)
        values, places = pre.topk(self.k, dim=-1)
        if self.rectified:
            values = values.relu()
        return pre.new_zeros(pre.shape).scatter(-1, places, values)

    def decode(self, latents: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """What latents `[..., latents]` say of the responses `x`, `[..., dim]`, that they are of."""
        bias = latents.new_tensor(self.decoder_bias)
        found = latents @ self._on(x.device).decoder + bias
        if self.layer_norm:
            found = found * x.std(dim=-1, keepdim=True) + x.mean(dim=-1, keepdim=True)
        return found

    def changed(self, x: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """`x + (after - before) @ decoder`: what the dictionary does not explain of `x` stays, and so does a position without a change.

        Parameters
        ----------
        x
            Responses `[..., dim]`.
        before, after
            Their latents `[..., latents]`, and what is to be of them.
        """
        moved = (after - before) @ self._on(x.device).decoder
        if self.layer_norm:
            moved = moved * x.std(dim=-1, keepdim=True)
        same = (after == before).all(dim=-1, keepdim=True)
        return x.where(same, x + moved)

    def random(self, seed: int) -> SparseDictionary:
        """The control: as many random directions of length 1 about the same centre, as many of them at once.

        In place of thresholds, which mean nothing for other directions, it has a `k`: the mean number of latents that were counted
        when this dictionary was trained, or 32.
        """
        generator = np.random.default_rng(seed)
        decoder = generator.normal(size=self.decoder.shape)
        decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
        usual = self.facts.get("held_out", {}).get("l0") or UNKNOWN_L0
        return SparseDictionary(
            encoder=np.ascontiguousarray(decoder.T, np.float32),
            encoder_bias=np.asarray(-(decoder @ self.decoder_bias), np.float32),
            decoder=decoder.astype(np.float32),
            decoder_bias=self.decoder_bias,
            k=self.k or min(self.latents, max(1, round(usual))),
            rectified=self.rectified,
            layer_norm=self.layer_norm,
        )

    def tensors(self) -> dict[str, Float32]:
        """Its arrays by SAELens' names."""
        found = {
            "W_enc": self.encoder,
            "b_enc": self.encoder_bias,
            "W_dec": self.decoder,
            "b_dec": self.decoder_bias,
        }
        if self.threshold is not None and self.threshold.any():
            found["threshold"] = self.threshold
        return {name: np.ascontiguousarray(values, np.float32) for name, values in found.items()}

    def config(self) -> dict[str, Any]:
        """SAELens' `cfg.json` of it."""
        more = {} if self.k is None else {"k": self.k}
        return {
            "architecture": self.kind,
            "d_in": self.dim,
            "d_sae": self.latents,
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": False,
            "normalize_activations": "layer_norm" if self.layer_norm else "none",
            "reshape_activations": "none",
            **more,
            "metadata": {
                "sae_lens_version": "6.0.0",
                **self.facts,
                **({} if self.rectified else {"rectified": False}),
            },
        }

    def as_bytes(self) -> bytes:
        """One safetensors file with its `cfg.json` as metadata, which `read_dictionary` reads too."""
        from safetensors.numpy import save

        found: bytes = save(self.tensors(), metadata={"cfg": json.dumps(self.config())})
        return found

    def files(self) -> dict[str, bytes]:
        """Name → content of the folder that SAELens reads; `cfg.json` is the last."""
        from safetensors.numpy import save

        config = json.dumps(self.config(), indent=1, sort_keys=True) + "\n"
        return {WEIGHTS: save(self.tensors()), CONFIG: config.encode()}

    @cached_property
    def _by_device(self) -> dict[torch.device, _Tensors]:
        return {}

    def _on(self, device: torch.device) -> _Tensors:
        import torch

        if device not in self._by_device:
            # A tensor that was made while inferring could not be used for gradients later.
            with torch.inference_mode(False):
                self._by_device[device] = _Tensors(
                    *(
                        None if part is None else torch.tensor(part, device=device)
                        for part in (self.encoder, self.encoder_bias, self.decoder, self.threshold)
                    )  # type: ignore[arg-type]
                )
        return self._by_device[device]


def split_layer(name: str) -> tuple[str, str]:
    """`LAYER` and what stands behind `@`, empty for a layer of the model itself.

    Examples
    --------
    >>> split_layer("visual.layer4.1@runs/x.sae"), split_layer("joint")
    (('visual.layer4.1', 'runs/x.sae'), ('joint', ''))
    """
    layer, _, behind = name.partition("@")
    return layer, behind
