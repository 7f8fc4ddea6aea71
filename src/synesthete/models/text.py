"""From texts to tokens and to what a text tower makes of them, with a tokenizer that is made of data only.

transformers runs Python that a tokenizer's files name, and opens files that they point to. So it never sees the
folder or repository that they lie in, but a copy of the known files, in which the known settings are left.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from synesthete._core.json_reader import parse_json
from synesthete._core.user_files import UnusableFile, read_inside
from synesthete.errors import SynestheteError
from synesthete.models.activations import Responses, TextReduction
from synesthete.models.adapter import HIDDEN, SHOWN, TextTower
from synesthete.models.building import (
    has_transformers,
    needs_transformers,
    quiet,
    write_configuration,
)
from synesthete.models.configuration import refuse_code
from synesthete.models.hub import explained, fetch_some, one_line, root_of
from synesthete.models.hub_text import HubTower
from synesthete.models.sources import Source
from synesthete.models.tokens import Tokenizer

VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "spm.model",
)
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json")
MAX_BYTES = 128 * 1024 * 1024
# Settings of transformers' tokenizers that say how texts are cut; those that name files or code are not among them.
_KEYS = frozenset({
    "add_bos_token", "add_eos_token", "add_prefix_space", "added_tokens_decoder", "additional_special_tokens",
    "clean_up_tokenization_spaces", "do_basic_tokenize", "do_lower_case", "errors", "extra_ids",
    "extra_special_tokens", "keep_accents", "language_codes", "legacy", "legacy_behaviour", "max_length",
    "model_input_names", "model_max_length", "never_split", "pad_to_multiple_of", "pad_token_type_id",
    "padding_side", "remove_space", "spaces_between_special_tokens", "split_special_tokens", "src_lang", "stride",
    "strip_accents", "tgt_lang", "tokenize_chinese_chars", "tokenizer_class", "trim_offsets", "truncation_side",
    "truncation_strategy",
})  # fmt: skip
_TOKEN_KEY = re.compile(r"[a-z_]{1,32}_token")
_CLASS = re.compile(
    r"(?!Auto)[A-Z]\w{0,48}Tokenizer(Fast)?|PreTrainedTokenizerFast|TokenizersBackend", re.ASCII
)


def tokenizer_of(source: Source) -> Tokenizer:
    """Texts to tokens; the tokenizer is fetched when the first text comes, as images need none."""
    text = source.config["text_cfg"]
    # A text tower of transformers has a table of its own, whose length its own configuration tells.
    known = None if text.get("hf_model_name") else int(text.get("vocab_size", 49408))

    @contextmanager
    def reading() -> Iterator[None]:
        try:
            yield
        except SynestheteError:
            raise
        except Exception as error:
            # transformers says so in an ImportError, or in a ValueError with a list of packages.
            missing = isinstance(error, ImportError) or "installed" in str(error)
            where = "lies beside its weights" if source.folder else "comes from the model hub"
            raise SynestheteError(
                f"{source.spec} cannot read texts: {one_line(error)}",
                hint="install the package that its tokenizer needs"
                if missing
                else f"its tokenizer {where}: copy or fetch it again",
            ) from error

    def opened() -> Any:
        if text.get("hf_tokenizer_name") and not has_transformers():
            raise needs_transformers(f"the tokenizer of {source.spec}")
        with reading():
            if source.converted and has_own_tokenizer(source):
                return _open_own(source)
            return _open(source, {} if source.converted else tokenizer_files(source))

    def checked(inner: Any, texts: list[str]) -> torch.Tensor:
        with reading():
            tokens: torch.Tensor = inner(texts)
        if known is not None and tokens.numel() and int(tokens.max()) >= known:
            raise SynestheteError(
                f"{source.spec} cannot read texts: its tokenizer gives token {int(tokens.max())},"
                f" and its text tower knows {known:,}"
            )
        return tokens

    return Tokenizer(opened, checked)


def no_texts(reason: SynestheteError) -> Tokenizer:
    """The tokenizer of a model without a text tower: it raises `reason`."""

    def refuse(*_: Any) -> Any:
        raise reason

    return Tokenizer(refuse, refuse)


def has_own_tokenizer(source: Source) -> bool:
    """Whether a tokenizer of transformers lies beside the weights; of the hub's repositories in its format, each has one."""
    folder = source.folder
    return bool(source.repository) or (folder is not None and _has_vocabulary(folder))


def _has_vocabulary(folder: Path) -> bool:
    return any(os.path.lexists(folder / one) for one in VOCABULARIES)


def tokenizer_files(source: Source) -> dict[str, bytes]:
    """The files of a tokenizer of transformers, checked, by name; none for a model that uses open_clip's own.

    Parameters
    ----------
    source
        Of a user's folder, where they must lie beside the weights, or of the hub, where the configuration says
        in which repository they lie.

    Raises
    ------
    SynestheteError
        If there are none, one leads out of the folder, or they ask for code to be run.
    """
    if source.library == "open_clip" and not source.converted:
        name = source.config["text_cfg"].get("hf_tokenizer_name")
        if not name:
            return {}
    else:
        name = source.repository
    folder, revision = source.folder, None
    if folder is not None and name == source.repository:
        revision = folder.name  # what lies beside these weights, whatever came later
    if folder is None or (source.repository and not (revision and _has_vocabulary(folder))):
        if not name:
            raise SynestheteError(
                f"{source.spec} cannot read texts: random weights come without a tokenizer"
            )
        wanted = (*VOCABULARIES, *SETTINGS)
        folder = fetch_some(f"the tokenizer of {source.spec}", name, wanted, revision)
    files = {}
    for one in (*VOCABULARIES, *SETTINGS):
        if os.path.lexists(folder / one):
            try:
                files[one] = read_inside(root_of(folder), folder / one, max_bytes=MAX_BYTES)
            except UnusableFile as error:
                raise SynestheteError(f"{source.spec}: {error.message}", hint=error.hint) from None
    if not set(VOCABULARIES) & set(files):
        raise SynestheteError(
            f"{source.spec} cannot read texts: there are no files of a tokenizer in {folder}",
            hint=f"{', '.join(VOCABULARIES[:3])} or the like belong beside its weights",
        )
    return {one: _checked(source, one, data) for one, data in files.items()}


def copy_tokenizer(source: Source, folder: Path) -> None:
    """Write the files of a tokenizer of transformers, checked, beside the weights of a model that it goes with.

    Raises
    ------
    SynestheteError
        As `tokenizer_files`; a user's folder need not have any.
    """
    for name, data in tokenizer_files(source).items() if has_own_tokenizer(source) else ():
        if name != "config.json":
            (folder / name).write_bytes(data)


def _checked(source: Source, name: str, data: bytes) -> bytes:
    """A file of settings with the known ones left, as JSON again; a vocabulary as it is."""
    if name not in SETTINGS:
        return data
    where = f"{source.spec}: {name}"
    found = parse_json(data, where)
    if not isinstance(found, dict):
        raise SynestheteError(f"{where} is not an object", hint="copy or fetch it again")
    if name == "config.json":
        # Of the model itself, which is not built from it; it only helps to find the tokenizer's class.
        found = {
            key: found[key]
            for key in ("model_type", "tokenizer_class")
            if isinstance(found.get(key), str)
        }
    elif name == "added_tokens.json":
        found = {key: value for key, value in found.items() if type(value) is int}
    else:
        refuse_code(found, where)
        found = {k: v for k, v in found.items() if k in _KEYS or _TOKEN_KEY.fullmatch(k)}
    chosen = found.get("tokenizer_class")
    if chosen is not None and not (isinstance(chosen, str) and _CLASS.fullmatch(chosen)):
        raise SynestheteError(
            f"{where} names {json.dumps(chosen)[:60]}, which is no tokenizer of transformers"
        )
    return json.dumps(found).encode()


class OpenedTokenizer:
    """A tokenizer of transformers as `synesthete.models.tokens` wants one.

    Parameters
    ----------
    source
        The model that its files lie beside.
    model_type
        Of the model, which tells the tokenizer's class where the files do not.
    context
        How many tokens the text tower reads.
    marked
        Whether padding is marked as `TextTower` has it; without, it stands behind the text as any token.

    Raises
    ------
    SynestheteError
        Files that are missing, damaged or refused; no padding token; or, unmarked, padding in front of the text.
    """

    def __init__(
        self, source: Source, model_type: str, context: int, *, marked: bool = True
    ) -> None:
        from transformers import AutoTokenizer

        files = tokenizer_files(source) | {
            "config.json": json.dumps({"model_type": model_type}).encode()
        }
        hint = "check the files of its tokenizer"
        with (
            explained(source.spec, "read texts", hint=hint),
            tempfile.TemporaryDirectory(prefix="synesthete-tokenizer-") as name,
            hushed(),
        ):
            for file, data in files.items():
                (Path(name) / file).write_bytes(data)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(
                name, local_files_only=True, trust_remote_code=False
            )
        self.spec = source.spec
        longest = getattr(self.tokenizer, "model_max_length", None)
        self.context = (
            min(context, longest) if isinstance(longest, int) and longest > 0 else context
        )
        if self.tokenizer.pad_token_id is None:
            raise SynestheteError(
                f"{source.spec} cannot read texts: its tokenizer has no pad_token"
            )
        self.marked = marked
        if not marked and self.tokenizer.padding_side != "right":
            raise SynestheteError(
                f"{source.spec} cannot read texts: its tokenizer pads them in front, and CLIP's network reads from the start"
            )
        self.masks = "attention_mask" in self.tokenizer.model_input_names

    def clean_fn(self, text: str) -> str:
        """What the tokenizer cuts: the text as it is."""
        return text

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Token ids `[texts, context]`."""
        given = self.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.context,
            return_tensors="pt",
            return_attention_mask=True,
        )
        tokens: torch.Tensor = given["input_ids"]
        if not self.marked:
            return tokens
        padding = torch.full_like(tokens, HIDDEN) if self.masks else SHOWN - tokens
        return tokens.where(given["attention_mask"].bool(), padding)


@contextmanager
def hushed() -> Iterator[None]:
    """Keep transformers' own lines and bars from the user's terminal."""
    from transformers.utils import logging as theirs

    logging: Any = theirs
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with quiet("transformers"):
            yield
    finally:
        if bars:
            logging.enable_progress_bar()


def _open_own(source: Source) -> Any:
    """The tokenizer that lies beside a CLIP in transformers' format."""
    if has_transformers():
        context = int(source.config["text_cfg"]["context_length"])
        return OpenedTokenizer(source, "clip", context, marked=False)
    if not _is_clips(tokenizer_files(source)):
        raise needs_transformers(f"the tokenizer of {source.spec}, whose vocabulary is not CLIP's,")
    return _open(source, {})


def _is_clips(files: Mapping[str, bytes]) -> bool:
    """Whether the vocabulary in a tokenizer's files is the one that OpenAI published, whose merges follow from it."""
    from open_clip import SimpleTokenizer

    words = list(SimpleTokenizer().encoder)
    # open_clip has other names for the last two.
    words[-2:] = "<|startoftext|>", "<|endoftext|>"
    if "tokenizer.json" in files:
        found = parse_json(files["tokenizer.json"], "tokenizer.json")
        model = found.get("model") if isinstance(found, dict) else None
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
    else:
        vocabulary = parse_json(files.get("vocab.json", b"null"), "vocab.json")
    return bool(vocabulary == {word: at for at, word in enumerate(words)})


def _open(source: Source, files: Mapping[str, bytes]) -> Callable[[list[str]], torch.Tensor]:
    from open_clip import get_tokenizer

    # Nothing of what is left could make transformers look further; these say so once more.
    only_data: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    with tempfile.TemporaryDirectory(prefix="synesthete-tokenizer-") as folder, quiet():
        write_configuration(Path(folder), source)
        # transformers asks this one for the tokenizer's class first.
        for name, data in ({"config.json": b"{}", **files} if files else {}).items():
            (Path(folder) / name).write_bytes(data)
        opened: Callable[[list[str]], torch.Tensor] = get_tokenizer(
            f"local-dir:{folder}", **(only_data if files else {})
        )
    return opened


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


def text_tower(network: Any) -> Any | None:
    """The text tower whose layers are read: open_clip's own, in the network itself (class CLIP) or under `text`, or one of transformers."""
    text = getattr(network, "text", None)
    if isinstance(text, TextTower):
        return text
    if hasattr(text, "pooler") and hasattr(text, "config"):
        return HubTower(text)
    for tower in (getattr(network, "text", None), network):
        if hasattr(getattr(tower, "transformer", None), "resblocks") and hasattr(
            tower, "token_embedding"
        ):
            return tower
    return None


def parameter_name(network: Any, layer: str) -> str:
    """The name that a module of a layer has in the network: class CLIP has its text tower without a name of its own."""
    return layer.removeprefix("text.") if text_tower(network) is network else layer


class Spans(NamedTuple):
    """Which positions of a batch of texts count, each `[texts]`.

    A text's own tokens are those from `first` up to `stop` (not included): its end token is one of them, the start
    token, padding and whatever stands behind the end are not. `end` is where the tower reads its embedding: the end
    token, or where it has one the class token (CoCa) or the last position (SigLIP).
    """

    first: torch.Tensor
    stop: torch.Tensor
    end: torch.Tensor


def spans_of(tower: Any, tokens: torch.Tensor, empty: torch.Tensor) -> Spans:
    """Which positions of `tokens` `[texts, context]` count.

    Parameters
    ----------
    tower
        From `text_tower`.
    tokens
        Token ids.
    empty
        Token ids `[context]` of the empty text, which starts as every text does; where there is no start token, as
        none does.
    """
    if isinstance(tower, TextTower | HubTower):
        return Spans(*tower.spans(tokens, empty))
    context = tokens.shape[1]
    pool = getattr(tower, "pool_type", getattr(tower, "text_pool_type", ""))
    by_class = getattr(tower, "cls_emb", None) is not None
    if by_class or pool == "argmax":
        stop = tokens.argmax(dim=1) + 1
    elif pool == "eos":
        known = int(getattr(tower, "eos_id", getattr(tower, "text_eos_id", 0)))
        stop = tokens.eq(known).int().argmax(dim=1) + 1
    else:
        # No end is marked; what repeats up to the end of the context is padding.
        other = tokens != tokens[:, -1:]
        places = torch.arange(1, context + 1, device=tokens.device)
        stop = (other * places).max(dim=1).values
    if by_class:
        end = torch.full_like(stop, context)
    elif pool in ENDS:
        end = stop - 1
    else:
        end = torch.full_like(stop, 0 if pool == "first" else context - 1)
    return Spans(tokens[:, 0].eq(empty[0]).to(stop), stop, end)


def reduce_texts(
    responses: Responses, reduction: TextReduction, spans: Spans
) -> tuple[torch.Tensor, torch.Tensor]:
    """One activation per text and unit, and the token that it is due to.

    Parameters
    ----------
    responses
        A layer's responses `[texts, positions, units]`.
    reduction
        `end`: where the embedding is read; `max`, `mean`: over the text's own tokens.
    spans
        Which positions those are. A text without any is read where its embedding is.

    Returns
    -------
    activations, positions
        `[texts, units]` each. The position of the (first) maximum; for `end` of that among the tokens before
        the end; -1 for `mean`, and where no token comes before the end.

    Examples
    --------
    >>> one = Responses(torch.tensor([[[9.0], [1.0], [5.0], [2.0], [7.0]]]), None, (1, 5))
    >>> spans = Spans(torch.tensor([1]), torch.tensor([4]), torch.tensor([3]))
    >>> [reduce_texts(one, how, spans)[0].item() for how in ("max", "mean", "end")]
    [5.0, 2.6666667461395264, 2.0]
    """
    values = responses.patches
    places = torch.arange(values.shape[1], device=values.device)[None]
    own = (places >= spans.first[:, None]) & (places < spans.stop[:, None])
    at_end = places == spans.end[:, None]
    if reduction == "end":
        own &= ~at_end
    else:
        own |= at_end & ~own.any(dim=1, keepdim=True)
    if reduction == "mean":
        weights = own.to(values.dtype) / own.sum(dim=1, keepdim=True)
        mean = (values * weights[:, :, None]).sum(dim=1)
        return mean, torch.full_like(mean, -1, dtype=torch.int64)
    best, positions = values.masked_fill(~own[:, :, None], -torch.inf).max(dim=1)
    if reduction == "max":
        return best, positions
    here = values[torch.arange(len(values), device=values.device), spans.end]
    return here, positions.masked_fill(~own.any(dim=1, keepdim=True), -1)
