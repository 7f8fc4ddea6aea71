"""Embeddings of texts, over as many positions as the texts have."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

ENDS = ("argmax", "eos")


def encode_text(network: Any, tokens: torch.Tensor) -> torch.Tensor:
    """What `network.encode_text(tokens, normalize=True)` gives, up to rounding, without computing the padding.

    A causal tower reads a text from its start and is read out where the text ends, so what stands behind the longest
    text of a batch has no part in it. Towers that are not of open_clip's class `CLIP`, that see both ways or that are
    read out elsewhere run over the whole context, as open_clip does.

    Parameters
    ----------
    network
        An open_clip model.
    tokens
        `[texts, context]`.

    Returns
    -------
    torch.Tensor
        `[texts, dimension]`, of length 1.
    """
    length = used_length(network, tokens)
    if length == tokens.shape[1]:
        whole: torch.Tensor = network.encode_text(tokens, normalize=True)
        return whole
    from open_clip.transformer import text_global_pool

    n, some = network, tokens[:, :length]
    kind = n.transformer.get_cast_dtype()
    x = n.token_embedding(some).to(kind) + n.positional_embedding[:length].to(kind)
    x = n.transformer(x, attn_mask=n.attn_mask[:length, :length])
    x = n.ln_final(x)
    end = getattr(n, "text_eos_id", None)
    x = text_global_pool(x, some, n.text_pool_type, eos_token_id=end)
    if isinstance(n.text_projection, nn.Linear):
        x = n.text_projection(x)
    elif n.text_projection is not None:
        x = x @ n.text_projection
    found: torch.Tensor = functional.normalize(x, dim=-1)
    return found


def used_length(network: Any, tokens: torch.Tensor) -> int:
    """How many positions of `tokens` `[texts, context]` have a part in the embeddings; all of them where that is not known."""
    from open_clip.model import CLIP

    context = int(tokens.shape[1])
    pool = getattr(network, "text_pool_type", "")
    if type(network) is not CLIP or pool not in ENDS or not len(tokens):
        return context
    mask = network.attn_mask
    if mask is None or not bool(torch.isinf(mask).equal(torch.ones_like(mask).triu(1).bool())):
        return context
    if pool == "argmax":
        ends = tokens.argmax(dim=-1)
    else:
        ends = tokens.eq(network.text_eos_id).int().argmax(dim=-1)
    return min(context, int(ends.max()) + 1)
