"""Teach a trained text tower sentences: what WordNet's definitions define, and what its examples say.

The tower was taught names, captions and words (`text_tower`). Those stay where they are: their targets are the tower's own embeddings
before it begins. A definition is to mean half its word, as the tower has it, and half what the sentence encoder says of it, brought into the tower's
space by a ridge regression fitted on the names and words; an example means what the encoder says. So a definition of a word that no image
shows teaches as much as one of a concept, and no text of the probe set but WordNet's is learnt from.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training import image_tower, languages, teacher
from training.architecture import create, load_text
from training.text_tower import TEMPLATES, Lessons, fit

PARTS = ("noun", "verb", "adj", "adv")
SHARES = {"names": 0.25, "captions": 0.1, "words": 0.15, "definitions": 0.35, "examples": 0.15}
"""Of the examples of a step."""
RIDGE = 10.0
_QUOTED = re.compile(r'"([^"]+)"')


@dataclass(frozen=True)
class Sense:
    """A WordNet synset: its words, its definition and its examples."""

    words: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]


def senses(root: Path) -> list[Sense]:
    """Every synset of WordNet's `data.*` files that has a definition."""
    found = []
    for part in PARTS:
        for line in (root / f"data.{part}").read_text(encoding="latin-1").splitlines():
            if line.startswith(" ") or " | " not in line:
                continue
            before, _, gloss = line.partition(" | ")
            fields = before.split()
            words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            definition = _QUOTED.sub("", gloss).strip(" ;")
            if definition:
                plain = tuple(word.split("(")[0].replace("_", " ").lower() for word in words)
                found.append(Sense(plain, definition, tuple(_QUOTED.findall(gloss))))
    return found


def regression(raw: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Map `[385, dim]` from the encoder's embeddings and a one, `raw` `[texts, 384]`, to the tower's `own` `[texts, dim]`."""
    given = np.concatenate([raw, np.ones((len(raw), 1), raw.dtype)], 1)
    square = given.T @ given + RIDGE * np.eye(given.shape[1], dtype=raw.dtype)
    return np.linalg.solve(square, given.T @ own).astype(np.float32)


def mapped(raw: np.ndarray, by: np.ndarray) -> np.ndarray:
    """What `regression` makes of `raw` `[texts, 384]`: unit rows `[texts, dim]`."""
    return teacher.normalise(raw @ by[:-1] + by[-1]).astype(np.float32)


def lessons(data: Path, tower: Any, wordnet: Path) -> Lessons:
    """What to learn, from the texts of `data/teacher.npz`, names in other languages and WordNet.

    The encoder's embeddings are kept in `data/sentences.npz`.
    """
    texts, kinds, _ = teacher.lookup(data)
    own = image_tower.name_targets(tower, texts).numpy()
    row = {text: i for i, text in enumerate(texts)}
    known = [sense for sense in senses(wordnet) if any(word in row for word in sense.words)]
    examples = [
        example for sense in known for example in sense.examples if len(example.split()) >= 4
    ]
    definitions = [sense.definition for sense in known]
    fitted = [i for i, kind in enumerate(kinds) if kind != "captions"]
    encoded = _encoded(data / "sentences.npz", [texts[i] for i in fitted] + definitions + examples)
    by = regression(encoded[: len(fitted)], own[fitted])
    encoded = mapped(encoded[len(fitted) :], by)
    heads = [next(row[word] for word in sense.words if word in row) for sense in known]
    both = teacher.normalise(own[heads] + encoded[: len(known)]).astype(np.float32)
    rows: list[tuple[str, int, str]] = []
    for i, (text, kind) in enumerate(zip(texts, kinds, strict=True)):
        rows += [
            (template.format(text), i, str(kind))
            for template in (TEMPLATES if kind == "names" else ("{}",))
        ]
    abroad = languages.read(data / "languages.tsv")
    foreign = sorted({name for names in abroad.values() for name in names} - set(row))
    targets = [own, both, encoded[len(known) :]]
    if foreign:
        targets.append(image_tower.name_targets(tower, foreign).numpy())
    starts = np.cumsum([0, *map(len, targets)])
    rows += [(text, int(starts[1]) + i, "definitions") for i, text in enumerate(definitions)]
    rows += [(text, int(starts[2]) + i, "examples") for i, text in enumerate(examples)]
    rows += [(text, int(starts[3]) + i, "captions") for i, text in enumerate(foreign)]
    count = Counter(str(kind) for *_, kind in rows)
    print(dict(count), flush=True)
    return Lessons(
        texts=[text for text, *_ in rows],
        of=np.array([target for _, target, _ in rows]),
        weights=np.array([SHARES[kind] / count[kind] for *_, kind in rows]),
        targets=np.concatenate(targets),
    )


def _encoded(path: Path, texts: list[str]) -> np.ndarray:
    if path.exists():
        with np.load(path) as saved:
            if list(saved["texts"]) == texts:
                return saved["raw"].astype(np.float32)
    raw = teacher.normalise(teacher.encode(texts))
    np.savez(path, texts=np.array(texts), raw=raw.astype(np.float16))
    return raw


def teach(
    data: Path,
    model: Path,
    wordnet: Path,
    *,
    minutes: float,
    steps: int = 0,
    peak: float = 1e-3,
    threads: int = 2,
    seed: int = 0,
) -> None:
    """Teach the text tower of the shipped `model` folder and save it as `data/text.pt`."""
    import torch

    from training import shipped

    torch.set_num_threads(threads)
    tower = create(seed=seed)
    load_text(tower, shipped.load(model).state_dict())
    what = lessons(data, tower.eval(), wordnet)
    with torch.no_grad():  # tokens never met before are zero; definitions use rarer ones
        unmet = tower.token_embedding.weight.abs().sum(1) == 0
        tower.token_embedding.weight[unmet] = 0.02 * torch.randn(
            int(unmet.sum()), tower.token_embedding.weight.shape[1]
        )
    tokens = fit(tower, what, minutes=minutes, steps=steps, peak=peak, seed=seed)
    tower.eval()
    keep = torch.zeros(tower.vocab_size, 1)
    keep[torch.unique(tokens)] = 1
    with torch.no_grad():
        tower.token_embedding.weight.mul_(keep)
    state = tower.state_dict().items()
    torch.save({k: v for k, v in state if not k.startswith("visual")}, data / "text.pt")


def ship(data: Path, model: Path) -> None:
    """Put `data/text.pt` into the model's folder; every tensor of the image tower stays byte for byte."""
    import json

    import torch
    from safetensors.torch import load_file, save_file

    path = model / "open_clip_model.safetensors"
    weights = load_file(path)
    for name, value in torch.load(data / "text.pt").items():
        if name in weights and name != "logit_scale":
            weights[name] = value.half().contiguous()
    save_file(weights, str(path), metadata={"format": "pt"})
    described = json.loads((model / "open_clip_config.json").read_text())
    described["model_cfg"]["text_cfg"]["context_length"] = len(weights["positional_embedding"])
    (model / "open_clip_config.json").write_text(json.dumps(described, indent=2) + "\n")
