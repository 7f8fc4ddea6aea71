"""Text towers of transformers inside open_clip's networks: what shapes them, by their names on the hub, and how their layers are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch

from synesthete.models.adapter import Pool, spans_among
from synesthete.models.hooks import Tap
from synesthete.models.hub import explained
from synesthete.models.places import BATCH, Place, find_places

_ROBERTA: dict[str, Any] = {
    "model_type": "roberta", "vocab_size": 50_265, "max_position_embeddings": 514, "type_vocab_size": 1,
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "hidden_act": "gelu", "layer_norm_eps": 1e-5, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}  # fmt: skip
_XLM = _ROBERTA | {"model_type": "xlm-roberta", "vocab_size": 250_002}
_MT5: dict[str, Any] = {
    "model_type": "mt5", "is_encoder_decoder": True, "vocab_size": 250_112, "d_model": 768, "d_kv": 64, "d_ff": 2048,
    "num_layers": 12, "num_decoder_layers": 12, "num_heads": 12, "relative_attention_num_buckets": 32,
    "layer_norm_epsilon": 1e-6, "feed_forward_proj": "gated-gelu",
    "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
}  # fmt: skip
_NLLB: dict[str, Any] = {
    "model_type": "m2m_100", "is_encoder_decoder": True, "vocab_size": 256_206, "max_position_embeddings": 1024,
    "d_model": 1024, "encoder_layers": 12, "encoder_ffn_dim": 4096, "encoder_attention_heads": 16,
    "decoder_layers": 12, "decoder_ffn_dim": 4096, "decoder_attention_heads": 16, "activation_function": "relu",
    "scale_embedding": True, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
SHAPES: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "roberta-base": _ROBERTA,
    "xlm-roberta-base": _XLM,
    "xlm-roberta-large": _XLM | _LARGE,
    "google/mt5-base": _MT5,
    "google/mt5-xl": _MT5 | {"d_model": 2048, "d_ff": 5120, "num_layers": 24, "num_decoder_layers": 24, "num_heads": 32},
    "facebook/nllb-200-distilled-600M": _NLLB,
    "facebook/nllb-200-distilled-1.3B": _NLLB
    | {"encoder_layers": 24, "encoder_ffn_dim": 8192, "decoder_layers": 24, "decoder_ffn_dim": 8192},
})  # fmt: skip
"""Of every text tower that open_clip's own architectures name, what its `config.json` on the hub says (https://huggingface.co/NAME,
the two RoBERTas under FacebookAI/); so it is built without the hub."""
TOKENS = 8  # of the texts that a tower is watched with


class HubTower:
    """open_clip's `HFTextEncoder`, read like the other text towers; the network stays as open_clip built it.

    Parameters
    ----------
    encoder
        The tower in the network; its layers are called `text.` and the name of the module in it.

    Attributes
    ----------
    vocab_size
        How many tokens it knows.
    pad
        The token of the padding, which it masks.
    pool
        `first`, or `end` for towers that average all tokens: these are read at the last of them.
    """

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.vocab_size = int(encoder.vocab_size)
        self.pad = -1 if encoder.config.pad_token_id is None else int(encoder.config.pad_token_id)
        first = type(encoder.pooler).__name__ in ("ClsPooler", "ClsLastHiddenStatePooler")
        self.pool: Pool = "first" if first else "end"

    def sample_tokens(self) -> torch.Tensor:
        """Token ids `[2, 8]` of two texts without padding."""
        known = [one for one in range(min(self.vocab_size, TOKENS + 1)) if one != self.pad]
        row = torch.tensor([known[place % len(known)] for place in range(TOKENS)])
        return row.repeat(BATCH, 1).to(next(self.encoder.parameters()).device)

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Its layers, found in one pass.

        Raises
        ------
        SynestheteError
            The tower cannot be run.
        """
        kind = type(self.encoder.transformer).__name__
        hint = "check its configuration, or fetch or copy the model again"
        with explained(f"its text tower, a {kind},", "be run", hint=hint):
            tokens = self.sample_tokens()
            return find_places(self.encoder, lambda: self.encoder(tokens), texts=True)

    def taps(self, tower: str) -> Iterator[Tap]:
        """Its layers in the network."""
        for place in self.places:
            yield place.tap(self.encoder, tower)

    def spans(
        self, tokens: torch.Tensor, empty: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As `TextTower.spans`."""
        return spans_among(tokens, tokens != self.pad, empty[empty != self.pad], self.pool)
