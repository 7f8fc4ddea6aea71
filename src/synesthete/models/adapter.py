"""A network of another library with the interface of open_clip's: what everything else of the package works with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from synesthete.models.architectures import Tower
from synesthete.models.places import Place

Pool = Literal["first", "last", "end"]


class TextTower(Tower):
    """A text tower of transformers.

    Token ids of places that the tokenizer masked are -1, so that one tensor tells ids and mask.

    Parameters
    ----------
    trunk, call, places
        As of any tower.
    context_length
        How many tokens it reads.
    vocabulary
        How many it knows.
    pool
        Where it reads its embedding: at the first position, at the last, or where the text ends.
    """

    def __init__(
        self,
        trunk: nn.Module,
        call: Callable[[Any, torch.Tensor], torch.Tensor],
        places: tuple[Place, ...] = (),
        *,
        context_length: int,
        vocabulary: int,
        pool: Pool = "end",
    ) -> None:
        super().__init__(trunk, call, places)
        self.context_length, self.vocabulary, self.pool = context_length, vocabulary, pool

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embeddings `[texts, dimension]` of token ids `[texts, context]`; what no text of the batch reaches is not computed."""
        mask = tokens >= 0
        length = tokens.shape[1] if bool(mask.all()) else max(1, int(mask.sum(1).max()))
        return self.call(self.trunk, tokens[:, :length])

    def ends(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Behind which position each text stops, and at which its embedding is read, `[texts]` each."""
        places = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        masked = bool((tokens < 0).any())
        # Where nothing is masked, what repeats up to the end of the context is padding.
        own = tokens >= 0 if masked else tokens != tokens[:, -1:]
        stop = (own * places).max(dim=1).values
        if self.pool == "end":
            return stop, stop - 1
        return stop, torch.full_like(stop, 0 if self.pool == "first" else tokens.shape[1] - 1)


class Network(nn.Module):
    """Two towers, or an image tower alone, as open_clip's `CLIP` has them.

    Parameters
    ----------
    visual
        From pixels to embeddings.
    text
        From tokens to embeddings; None for a model of images only.
    logit_scale
        Log of the factor of similarities, where the model has one.
    """

    def __init__(
        self,
        visual: Tower,
        text: TextTower | None = None,
        logit_scale: nn.Parameter | None = None,
    ) -> None:
        super().__init__()
        self.visual, self.text, self.logit_scale = visual, text, logit_scale

    def encode_image(self, image: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Embeddings of images."""
        found: torch.Tensor = self.visual(image)
        return functional.normalize(found, dim=-1) if normalize else found

    def encode_text(self, text: torch.Tensor, normalize: bool = False) -> torch.Tensor:
        """Embeddings of tokens."""
        assert self.text is not None
        found: torch.Tensor = self.text(text)
        return functional.normalize(found, dim=-1) if normalize else found
