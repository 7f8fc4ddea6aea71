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
HIDDEN, SHOWN = -1, -2


class TextTower(Tower):
    """A text tower of transformers.

    Token ids tell the padding: `HIDDEN` is one that is masked, and `SHOWN - id` one that the model sees, as SigLIP does.

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
        used = (tokens != HIDDEN).any(dim=0).nonzero()
        length = int(used[-1]) + 1 if len(used) else 1
        return self.call(self.trunk, tokens if self.pool == "last" else tokens[:, :length])

    def spans(
        self, tokens: torch.Tensor, empty: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of each text its own first position, the one behind its last, and the one where its embedding is read, `[texts]` each.

        Parameters
        ----------
        tokens
            `[texts, context]`.
        empty
            Token ids `[context]` of the empty text: the tokens that mark start and end.
        """
        return spans_among(tokens, tokens >= 0, empty[empty >= 0], self.pool)


def spans_among(
    tokens: torch.Tensor, own: torch.Tensor, marks: torch.Tensor, pool: Pool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `TextTower.spans` gives, of a tower whose texts are padded.

    Parameters
    ----------
    tokens
        `[texts, context]`.
    own
        `[texts, context]`: those that are no padding.
    marks
        The tokens that mark start and end.
    pool
        Where the tower reads its embedding.
    """
    places = torch.arange(tokens.shape[1], device=tokens.device)
    stop = (own * (places + 1)).max(dim=1).values
    first = own.int().argmax(dim=1)
    if len(marks) > 1:
        first += tokens.gather(1, first[:, None])[:, 0].eq(marks[0]).long()
    if pool == "end":
        return first, stop, (stop - 1).clamp(min=0)
    end = 0 if pool == "first" else tokens.shape[1] - 1
    return first, stop, torch.full_like(stop, end)


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
