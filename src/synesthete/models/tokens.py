"""Which characters of a text a token stands for, and whether a tokenizer cut a text short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch

# Further than any context reaches; matching takes time that grows with the square of it.
_REACH = 2_000


@dataclass(frozen=True)
class Token:
    """A token of a text.

    Attributes
    ----------
    text
        The characters of the text that it stands for; empty for tokens that mark start and end.
    start, stop
        Where they lie in the text. A token of part of a character (bytes of an emoji) has all of it.
    """

    text: str
    start: int
    stop: int


class Tokenizer:
    """A tokenizer of open_clip, opened when the first text comes.

    Parameters
    ----------
    open_
        Gives open_clip's tokenizer.
    checked
        Runs it on texts, and turns what it raises into a message.
    """

    def __init__(
        self,
        open_: Callable[[], Any],
        checked: Callable[[Any, list[str]], torch.Tensor],
    ) -> None:
        self._open, self._checked = open_, checked
        self._opened: Any = None

    @property
    def inner(self) -> Any:
        """open_clip's tokenizer."""
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Token ids `[texts, context]`."""
        return self._checked(self.inner, texts)

    def count(self, text: str) -> int:
        """How many tokens a text has with its start and end, were the context long enough."""
        inner = self.inner
        if hasattr(inner, "encode"):
            return len(inner.encode(text)) + 2
        return len(inner.tokenizer(inner.clean_fn(text))["input_ids"])

    def tokens(self, text: str) -> list[Token]:
        """The tokens of a text in the order of their positions, the start's (where there is one) and the end's included.

        As many as the text has, even when the model reads only the first of them.
        """
        inner = self.inner
        clean = inner.clean_fn(text)
        if hasattr(inner, "encode"):
            spans = [(0, 0), *_byte_pairs(inner, clean), (len(clean), len(clean))]
        else:
            found = inner.tokenizer(clean, return_offsets_mapping=True)
            spans = [(int(start), int(stop)) for start, stop in found["offset_mapping"]]
        where = aligned(clean, text)
        places = []
        for start, stop in spans:
            first = where[min(start, len(where) - 1)]
            last = where[min(stop - 1, len(where) - 1)] + 1 if stop > start else first
            places.append((first, min(last, len(text))))
        return [Token(text[start:stop], start, stop) for start, stop in places]


def _byte_pairs(inner: Any, clean: str) -> Iterator[tuple[int, int]]:
    """Character spans of the tokens of open_clip's SimpleTokenizer, whose tokens are bytes."""
    # Byte offset to character: a token that ends within a character has all of it.
    for match in inner.pat.finditer(clean):
        word = match.group()
        of_byte = [at for at, character in enumerate(word) for _ in character.encode("utf-8")]
        coded = "".join(inner.byte_encoder[byte] for byte in word.encode("utf-8"))
        at = 0
        for piece in inner.bpe(coded).split(" "):
            size = min(len(piece.removesuffix("</w>")), len(of_byte) - at)
            yield match.start() + of_byte[at], match.start() + of_byte[at + size - 1] + 1
            at += size


def aligned(clean: str, text: str) -> list[int]:
    """For each character of a cleaned text, and for its end, its place in the text itself.

    Cleaning lowers letters and joins spaces, which is followed character by character; where it does more (entities of
    HTML, damaged encodings), the two are matched as a whole.

    Examples
    --------
    >>> aligned("a cat", "  A   cat")
    [2, 2, 6, 7, 8, 9]
    """
    return _followed(clean, text) or _matched(clean, text)


def _folded(text: str) -> list[tuple[str, int]]:
    """The characters of a text without case and spaces, each with its place."""
    return [(c, at) for at, one in enumerate(text) if not one.isspace() for c in one.casefold()]


def _followed(clean: str, text: str) -> list[int]:
    short, long = _folded(clean), _folded(text)
    if [c for c, _ in short] != [c for c, _ in long[: len(short)]]:
        return []
    return _filled({at: place for (_, at), (_, place) in zip(short, long, strict=False)}, clean)


def _matched(clean: str, text: str) -> list[int]:
    short, long = _folded(clean[:_REACH]), _folded(text[:_REACH])
    matcher = SequenceMatcher(None, [c for c, _ in short], [c for c, _ in long], autojunk=False)
    return _filled(
        {
            short[block.a + offset][1]: long[block.b + offset][1]
            for block in matcher.get_matching_blocks()
            for offset in range(block.size)
        },
        clean,
    )


def _filled(known: dict[int, int], clean: str) -> list[int]:
    """A place for every character and the end: one that is not in the text (a joined space) is where the last one was."""
    where, last = [], 0
    for at in range(len(clean)):
        last = known.get(at, last)
        where.append(last)
    return [*where, last + 1 if clean else 0]
