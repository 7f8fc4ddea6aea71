"""From a checked configuration to a network without its weights."""

from __future__ import annotations

import json
import logging
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor, device, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from synesthete._core.json_reader import read_json
from synesthete.errors import SynestheteError
from synesthete.models.configuration import (
    CONFIGURATION,
    FLAG,
    HEADS,
    LAYERS,
    NONE,
    WIDTH,
    Rule,
    either,
    integer,
    matching,
    number,
)
from synesthete.models.hub import explained, fetch, in_cache, root_of
from synesthete.models.hub_text import SHAPES
from synesthete.models.sources import SPARE_ELEMENTS, Source

_NAMED = either(NONE, matching(re.compile(r"[a-z0-9_-]{1,32}"), "a word"))
_COUNT = either(NONE, integer(0, 1 << 31))
_SHARE = either(NONE, number(0, 1))
# What shapes a text tower of transformers; the rest of its `config.json` names code, files and training.
_TEXT_TOWER: Mapping[str, Rule] = {
    "model_type": _NAMED, "is_encoder_decoder": FLAG,
    "vocab_size": integer(1, 1 << 21), "max_position_embeddings": integer(1, 8192),
    "type_vocab_size": integer(0, 64),
    "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": WIDTH,
    "hidden_act": _NAMED, "layer_norm_eps": _SHARE, "position_embedding_type": _NAMED,
    "d_model": WIDTH, "d_kv": WIDTH, "d_ff": WIDTH, "num_layers": LAYERS, "num_decoder_layers": LAYERS,
    "num_heads": HEADS, "relative_attention_num_buckets": integer(1, 4096),
    "relative_attention_max_distance": integer(1, 65_536), "layer_norm_epsilon": _SHARE,
    "feed_forward_proj": _NAMED, "dense_act_fn": _NAMED, "is_gated_act": FLAG, "tie_word_embeddings": FLAG,
    "encoder_layers": LAYERS, "encoder_ffn_dim": WIDTH, "encoder_attention_heads": HEADS,
    "decoder_layers": LAYERS, "decoder_ffn_dim": WIDTH, "decoder_attention_heads": HEADS,
    "activation_function": _NAMED, "scale_embedding": FLAG,
    "pad_token_id": _COUNT, "bos_token_id": _COUNT, "eos_token_id": _COUNT, "decoder_start_token_id": _COUNT,
}  # fmt: skip


class ImageOnly(nn.Module):
    """The image tower of an architecture whose text tower, of transformers, cannot be built here.

    Parameters
    ----------
    network
        One of open_clip's with that image tower.
    reason
        Why it stands alone.
    """

    def __init__(self, network: nn.Module, reason: SynestheteError) -> None:
        super().__init__()
        self.visual: nn.Module = network.visual  # type: ignore[assignment]
        self.reason = reason

    def encode_image(self, images: Tensor, normalize: bool = False) -> Tensor:
        """As open_clip's networks do."""
        found = self.visual(images)
        found = found[0] if isinstance(found, tuple) else found  # CoCa's gives its tokens too
        embedded: Tensor = functional.normalize(found, dim=-1) if normalize else found
        return embedded


_OF_IMAGES = ("embed_dim", "vision_cfg", "quick_gelu")
_LEAST_TEXT = {"context_length": 2, "vocab_size": 2, "width": 8, "heads": 1, "layers": 1}


def builder_of(source: Source) -> Callable[[], nn.Module]:
    """What makes the network of a model without its weights, as often as asked.

    It is an `ImageOnly` where the text tower of one of open_clip's own architectures needs transformers, which is not installed, or,
    of random weights, its configuration, which is out of reach.
    """

    def build() -> nn.Module:
        from open_clip import create_model

        built, text_tower, reason = source, None, None
        try:
            text_tower = shape_of_text(source)
        except SynestheteError as error:
            if not source.trusted or (source.checkpoint is not None and has_transformers()):
                raise
            built, reason = _without_text(source), _no_text(source, error)
        limit = None
        if not source.trusted and source.checkpoint is not None:
            # Every number of the network stands in its weights, in a byte at least.
            limit = source.checkpoint.stat().st_size + SPARE_ELEMENTS
        hint = "check its configuration, or, when files are missing, connect once to fetch them"
        with (
            explained(source.spec, "be built", hint=hint),
            tempfile.TemporaryDirectory(prefix="synesthete-model-") as folder,
            quiet(),
            at_most(limit) if limit else nullcontext(),
        ):
            write_configuration(Path(folder), built, text_tower)
            network: nn.Module = create_model(
                f"local-dir:{folder}",
                load_weights=False,
                # The weights of the whole model follow; those of single towers would be a download.
                pretrained_image=False,
                pretrained_text=False,
                force_quick_gelu=source.quick_gelu,
            )
        if (decoder := getattr(network, "text_decoder", None)) is not None:
            # CoCa's captions: open_clip leaves this matrix as the memory was.
            projection: Tensor = decoder.text_projection
            nn.init.normal_(projection, std=projection.shape[0] ** -0.5)
        return network if reason is None else ImageOnly(network, reason)

    return build


def _without_text(source: Source) -> Source:
    """The same image tower with a text tower of nearly nothing, for open_clip builds none without."""
    config = {key: source.config[key] for key in _OF_IMAGES if key in source.config}
    return replace(source, config=config | {"text_cfg": _LEAST_TEXT})


def _no_text(source: Source, error: SynestheteError) -> SynestheteError:
    name = source.config["text_cfg"]["hf_model_name"]
    why, hint = error.message, error.hint
    if has_transformers():
        why, hint = f"config.json of {name} is out of reach", "connect once to fetch it"
    return SynestheteError(
        f"{source.spec} reads no texts, as its text tower was not built: {why}", hint=hint
    )


def has_transformers() -> bool:
    """Whether the package transformers is installed."""
    return find_spec("transformers") is not None


def needs_transformers(what: str) -> SynestheteError:
    """What to raise where the package transformers is missing."""
    return SynestheteError(
        f"{what} needs the package transformers, which is not installed",
        hint="pip install 'synesthete[transformers]'",
    )


def write_configuration(
    folder: Path, source: Source, text_tower: Mapping[str, Any] | None = None
) -> None:
    """Write what is known of a model where open_clip will look for it; the model's own folder it never sees.

    Parameters
    ----------
    folder
        An empty folder.
    source
        The model.
    text_tower
        The configuration of a text tower of transformers.
    """
    config = dict(source.config)
    if text_tower is not None:
        inner = folder / "text"
        inner.mkdir()
        (inner / "config.json").write_text(json.dumps(text_tower), encoding="utf-8")
        config["text_cfg"] = config["text_cfg"] | {"hf_model_name": str(inner)}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": source.preprocess})
    (folder / CONFIGURATION).write_text(text, encoding="utf-8")


def shape_of_text(source: Source) -> dict[str, Any] | None:
    """Of a text tower of transformers, what shapes it: known here, or from the hub, or for a user's folder from the hub's cache."""
    name = source.config["text_cfg"].get("hf_model_name")
    if not name:
        return None
    if not has_transformers():
        raise needs_transformers(f"the text tower of {source.spec}")
    found = SHAPES.get(name)
    if found is None:
        get = fetch if source.folder is None else in_cache
        file = get(source.spec, name, "config.json")
        found = read_json(file, root=root_of(file.parent))
    shape = {key: found[key] for key in _TEXT_TOWER if key in found}
    for key, value in shape.items():
        if not _TEXT_TOWER[key].fits(value):
            raise SynestheteError(
                f"{source.spec} cannot be built: {key} of {name} is {json.dumps(value)[:60]},"
                f" expected {_TEXT_TOWER[key].expected}"
            )
    # open_clip builds a decoder and throws it away.
    return shape | {key: 0 for key in ("decoder_layers", "num_decoder_layers") if key in shape}


class _TooLarge(Exception):
    """A network that its weights cannot fill."""


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what is allocated by size, and refuses before there is too much of it."""

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit = self.left = limit

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        size = args[0] if args else None
        if isinstance(size, list | tuple) and all(type(one) is int for one in size):
            self.left -= prod(size)
            if self.left < 0:
                raise _TooLarge(
                    f"its configuration describes a network of more than {self.limit:,} numbers,"
                    " and its file of weights cannot hold as many"
                )
        return func(*args, **(kwargs or {}))


@contextmanager
def at_most(elements: int) -> Iterator[None]:
    """Let torch allocate that many elements and no more."""
    with _Counted(elements):
        yield


def refuse_larger(build: Callable[[], object], elements: int) -> None:
    """Build a network of a library where nothing is allocated, so that one of more numbers is found out before."""
    with device("meta"), at_most(elements):
        build()


class _Elsewhere(logging.Handler):
    """Where nobody handles what is logged, it does what logging does then, for other threads than those that are quiet."""

    def __init__(self, thread: int) -> None:
        super().__init__()
        self.thread = thread

    def emit(self, record: logging.LogRecord) -> None:
        """Print a warning or an error, unless a handler of somebody's has it."""
        own = [one for one in logging.getLogger().handlers if isinstance(one, _Elsewhere)]
        others = len(own) < len(logging.getLogger().handlers)
        quiet_here = any(one.thread == record.thread for one in own)
        last = logging.lastResort
        if (
            own[:1] == [self]
            and last
            and record.levelno >= last.level
            and not (others or quiet_here)
        ):
            last.handle(record)


@contextmanager
def quiet(*own: str) -> Iterator[None]:
    """Keep what libraries log in this thread from the user's terminal; errors are reported in our own words.

    Other threads log on: a level would silence them too, for good where two of them change it at a time.

    Parameters
    ----------
    own
        Loggers of libraries that have handlers of their own.
    """
    root, thread = logging.getLogger(), threading.get_ident()

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != thread

    # Without any handler, logging would install one for the whole process on the first line.
    nothing = _Elsewhere(thread)
    root.addHandler(nothing)
    loggers = (root, *map(logging.getLogger, own))
    handlers = [handler for one in loggers for handler in one.handlers]
    for handler in handlers:
        handler.addFilter(elsewhere)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(elsewhere)
        root.removeHandler(nothing)
