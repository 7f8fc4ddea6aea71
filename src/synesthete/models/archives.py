"""Weights in the zip archives of torch.save and TorchScript: the tensors are read, and nothing of the archive is run.

Both kinds of archive hold a pickle, `data.pkl`, and the numbers of each storage in a file of its own. The pickle is read
by a reader that knows a few names, and makes of each tensor a description and of each module a list of its attributes;
the code in a TorchScript archive, and `constants.pkl`, are never opened. torch is needed for the numbers only.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from synesthete.errors import SynestheteError

if TYPE_CHECKING:
    import torch

MAX_PICKLE = 32 * 1024 * 1024
MAX_FILES = 100_000
_BYTES = {
    "HalfStorage": ("float16", 2), "BFloat16Storage": ("bfloat16", 2), "FloatStorage": ("float32", 4),
    "DoubleStorage": ("float64", 8), "LongStorage": ("int64", 8), "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2), "CharStorage": ("int8", 1), "ByteStorage": ("uint8", 1), "BoolStorage": ("bool", 1),
}  # fmt: skip
_WIDTH = dict(_BYTES.values())
# What OpenAI's archives have beside the weights.
OPENAI_MARKS = ("input_resolution", "context_length", "vocab_size")


class _Storage(NamedTuple):
    """A storage by its file's name."""

    dtype: str
    key: str
    numel: int


class Entry(NamedTuple):
    """Where a tensor lies: its storage, and its place in it, counted in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Archive:
    """An archive of weights whose pickle has been read.

    Attributes
    ----------
    path
        The file.
    entries
        The tensors by name.
    openai
        It has the marks of OpenAI's own archives, whose weights need QuickGELU.
    """

    path: Path
    entries: Mapping[str, Entry]
    openai: bool

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors' shapes."""
        return {name: entry.shape for name, entry in self.entries.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors, each a copy of its own.

        Raises
        ------
        SynestheteError
            If a storage is missing or damaged.
        """
        import torch

        found: dict[str, torch.Tensor] = {}
        by_storage: dict[_Storage, list[str]] = {}
        for name, entry in self.entries.items():
            by_storage.setdefault(entry.storage, []).append(name)
        with _opened(self.path) as archive:
            root = _root(archive, self.path)
            for storage, names in by_storage.items():
                try:
                    data = bytearray(archive.read(f"{root}data/{storage.key}"))
                except (KeyError, zipfile.BadZipFile, OSError, EOFError, NotImplementedError):
                    raise _damaged(
                        self.path, f"the numbers of {names[0][:80]} cannot be read"
                    ) from None
                kind = getattr(torch, storage.dtype)
                for name in names:
                    _, offset, shape, stride = self.entries[name]
                    steps = sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
                    if not prod(shape):
                        found[name] = torch.empty(shape, dtype=kind)
                    elif (offset + steps + 1) * kind.itemsize > len(data):
                        raise _damaged(self.path, f"{name[:80]} is larger than its numbers")
                    else:
                        flat = torch.frombuffer(data, dtype=kind, count=len(data) // kind.itemsize)
                        found[name] = flat.as_strided(shape, stride, offset).clone()
        return {name: found[name] for name in self.entries}


def read_archive(path: Path) -> Archive:
    """Read which tensors an archive holds.

    Parameters
    ----------
    path
        A file that torch.save wrote since torch 1.6 (a state dict, or a training checkpoint with one under
        `state_dict`), or a TorchScript archive of a model, as OpenAI publishes CLIP.

    Raises
    ------
    SynestheteError
        If it is no such archive, is damaged, larger than it may be, or names anything that is not a tensor's.
    """
    with _opened(path) as archive:
        root = _root(archive, path)
        try:
            data = archive.read(f"{root}data.pkl")
            order = (
                archive.read(f"{root}byteorder")
                if f"{root}byteorder" in archive.namelist()
                else b"little"
            )
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError):
            raise _damaged(path, "its list of tensors cannot be read") from None
    if order != b"little":
        raise _damaged(path, "its numbers are not little-endian")
    try:
        found = _Reader(io.BytesIO(data)).load()
    except _Refused as error:
        raise SynestheteError(
            f"{path.name} is refused: its pickle names {error}, and weights are tensors only",
            hint="save the model's state_dict() alone, best as safetensors",
        ) from None
    except Exception as error:
        # Whatever a wrong pickle leads to in the reader; it cannot have run anything.
        raise _damaged(path, "its list of tensors is damaged") from error
    while isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict | _Module):
        raise _damaged(path, "it is no state dict and no module")
    entries: dict[str, Entry] = {}
    marks: set[str] = set()
    _walk(found, "", entries, marks, 0)
    if entries and all(name.startswith("module.") for name in entries):
        entries = {name.removeprefix("module."): entry for name, entry in entries.items()}
    if not entries:
        raise _damaged(path, "there are no tensors in it")
    if (
        sum(prod(one.shape) * _WIDTH[one.storage.dtype] for one in entries.values())
        > 2 * path.stat().st_size
    ):
        raise _damaged(path, "it would be larger unpacked than weights of its size are")
    return Archive(path, entries, set(OPENAI_MARKS) <= marks)


def _walk(found: Any, prefix: str, entries: dict[str, Entry], marks: set[str], depth: int) -> None:
    """The tensors of a state dict or of a module and its parts."""
    if depth > 64 or len(entries) > MAX_FILES:
        return
    for key, value in (found.state if isinstance(found, _Module) else found).items():
        name = f"{prefix}{key}"
        if name in OPENAI_MARKS:
            marks.add(name)
        elif isinstance(value, Entry) and key != "attn_mask":
            # A mask is not learnt, and every network makes its own.
            entries[name] = value
        elif isinstance(value, _Module):
            _walk(value, name + ".", entries, marks, depth + 1)


class _Refused(Exception):
    """A name in a pickle that no tensor needs."""


class _Module:
    """What a module of a TorchScript archive becomes: its attributes."""

    def __init__(self, *_: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise TypeError("a module's state is no dict")
        self.state = state


def _same(value: Any = None, *_: Any) -> Any:
    return value


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Entry:
    numbers = (offset, *size, *stride)
    if (
        not isinstance(storage, _Storage)
        or len(size) != len(stride)
        or len(size) > 8
        or any(type(one) is not int or not 0 <= one < 1 << 40 for one in numbers)
        or prod(size) > storage.numel
    ):
        raise TypeError("no tensor")
    return Entry(storage, offset, tuple(size), tuple(stride))


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _same,
    ("torch.jit._pickle", "build_intlist"): _same,
    ("torch.jit._pickle", "build_doublelist"): _same,
    ("torch.jit._pickle", "build_boollist"): _same,
    ("torch.jit._pickle", "build_tensorlist"): _same,
    ("torch.jit._pickle", "restore_type_tag"): _same,
    **{("torch", name): name for name in _BYTES},
}


# Not the one in C, which would make room for as many objects as a pickle says that there are.
class _Reader(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        try:
            return _NAMES[module, name]
        except KeyError:
            shown = "".join(one if one.isprintable() else "�" for one in f"{module}.{name}")
            raise _Refused(shown[:80]) from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, numel = pid
        if kind != "storage" or not isinstance(key, str) or type(numel) is not int:
            raise TypeError("no storage")
        return _Storage(_BYTES[storage][0], key, numel)

    def get_extension(self, code: int) -> Any:
        raise _Refused(f"extension {code}")


def _opened(path: Path) -> zipfile.ZipFile:
    """The archive, if it is no larger unpacked than packed: these are stored as they are."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        if not path.is_file():
            raise SynestheteError(f"{path}: there is no such file", hint="check the path") from None
        raise SynestheteError(
            f"{path.name} is no archive of torch.save or TorchScript",
            hint="an older pickle is not read: save its state_dict() again with today's torch, or as safetensors",
        ) from None
    # Code may be packed, and is not read; what is read is stored as it is, and reading stops at the size that is said.
    files = [one for one in archive.infolist() if not one.filename.endswith(".py")]
    read = [one for one in files if "/data/" in one.filename or one.filename.endswith("/data.pkl")]
    if (
        len(files) > MAX_FILES
        or sum(one.file_size for one in read) > path.stat().st_size
        or any(one.file_size > MAX_PICKLE for one in read if one.filename.endswith("data.pkl"))
    ):
        archive.close()
        raise _damaged(path, "it would be larger unpacked than weights of its size are")
    return archive


def _root(archive: zipfile.ZipFile, path: Path) -> str:
    """The folder in the archive that everything is in."""
    roots = [
        name.removesuffix("data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")
    ]
    if len(roots) != 1 or roots[0].count("/") != 1:
        raise _damaged(path, "it has no list of tensors")
    return roots[0]


def _damaged(path: Path, reason: str) -> SynestheteError:
    return SynestheteError(
        f"{path.name} cannot be read: {reason}",
        hint="the file is damaged or holds no weights: fetch or copy it again",
    )


def shape_of_clip(shapes: Mapping[str, tuple[int, ...]], path: Path) -> dict[str, Any]:
    """open_clip's `model_cfg` for weights with OpenAI's names, found from their shapes.

    Raises
    ------
    SynestheteError
        If they are not a CLIP's with OpenAI's names.

    Examples
    --------
    >>> shape_of_clip({"a": (1, 2)}, Path("x.pt"))
    Traceback (most recent call last):
    ...
    synesthete.errors.SynestheteError: x.pt does not hold the weights of a CLIP as OpenAI names them (name its architecture: ARCHITECTURE@x.pt)
    """

    def blocks(prefix: str) -> int:
        return len(
            {name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix)}
        )

    try:
        width = shapes["ln_final.weight"][0]
        text = {
            "context_length": shapes["positional_embedding"][0],
            "vocab_size": shapes["token_embedding.weight"][0],
            "width": width,
            "heads": max(1, width // 64),
            "layers": blocks("transformer.resblocks."),
        }
        vision: dict[str, Any]
        if "visual.proj" in shapes:
            patch = shapes["visual.conv1.weight"][-1]
            tokens, wide = shapes["visual.positional_embedding"]
            vision = {
                "image_size": patch * round((tokens - 1) ** 0.5),
                "layers": blocks("visual.transformer.resblocks."),
                "width": wide,
                "patch_size": patch,
                "head_width": min(64, wide),
            }
        else:
            side = round((shapes["visual.attnpool.positional_embedding"][0] - 1) ** 0.5)
            vision = {
                "image_size": side * 32,
                "layers": [blocks(f"visual.layer{k}.") for k in (1, 2, 3, 4)],
                "width": shapes["visual.layer1.0.conv1.weight"][0],
                "patch_size": None,
            }
        return {"embed_dim": shapes["text_projection"][1], "vision_cfg": vision, "text_cfg": text}
    except (KeyError, IndexError, ValueError):
        raise SynestheteError(
            f"{path.name} does not hold the weights of a CLIP as OpenAI names them",
            hint=f"name its architecture: ARCHITECTURE@{path.name}",
        ) from None
