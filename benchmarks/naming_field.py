"""Names by the field's own code beside ours, on the same units: `python benchmarks/naming_field.py demo.atlas --peers DIR`.

DIR holds clones of the peers (none of their code is here), at the commits of `PEERS`:

    git clone https://github.com/Trustworthy-ML-Lab/CLIP-dissect
    git clone https://github.com/Trustworthy-ML-Lab/Linear-Explanations
    git clone https://github.com/jim-berend/semanticlens
    git clone https://github.com/oussamabouanani/neurolens
    pip install einops jaxtyping pandas zarr zennit-crp matplotlib

Everybody is given the images of one half of the artists, and names each unit by one of the same words: *by similarity*, from embeddings of images and words
(of an atlas its own model's), or *by labels*, from the images' concepts (to a peer that compares embeddings they are one-hot ones). Linear explanations
take labels, as LE(label) does, and their word is the one of the largest weight. The other half of the artists judges:

- right: the word is the unit's true concept;
- simulation: correlation of the unit's activations with those that the explanation predicts (Oikarinen and Weng, ICML 2024): of a word its label, 0 or 1, or
  its cosine with the images; of a linear explanation the weighted sum of its labels;
- CoSy (Kopf et al., NeurIPS 2024): AUC and mean activation difference of images of the word against all others, held-out images in place of generated ones.

Intervals are 95 % (Wilson; bootstrap over units). "−ours" is the mean difference from ours of the same source over units, and its interval.
The constants of ours were chosen with mini's figures in sight, so on its units they are validation figures; the planted units are drawn for each run from a fixed seed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from naming import Known, Truth, atlas_truths, planted_truth
from scipy.stats import rankdata

from synesthete._core.intervals import bootstrap_interval, wilson_interval
from synesthete.atlas import open_atlas

PEERS = {
    "CLIP-dissect": "21e7697",
    "Linear-Explanations": "73bf429",
    "semanticlens": "7779074",
    "neurolens": "b4e9c9d",
}
SOURCES = ("labels", "similarity")
EXAMPLES = 20, 30  # images of a unit, in SemanticLens's tutorial and in NeuroLens's configuration
DRAWS = 2000
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What everybody is given: of the first half of the artists, `[images, units]`, embeddings, and those of the words."""

    activations: torch.Tensor
    images: torch.Tensor
    words: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Explained:
    """A word for each unit; of a linear explanation also weights `[units, words]`."""

    word: np.ndarray
    weights: np.ndarray | None = None


Method = Callable[[Shown], Explained]


class Peers:
    """The peers' own functions, from their clones."""

    def __init__(self, folder: Path) -> None:
        for name, commit in PEERS.items():
            found = subprocess.run(
                ["git", "-C", folder / name, "rev-parse", "HEAD"], capture_output=True, text=True
            ).stdout
            if not found.startswith(commit):
                sys.exit(f"{folder / name} is not a clone at {commit}")
        # Its modules are called `utils` and `data_utils`: after it nothing else of such a name is imported.
        sys.path[:0] = [
            str(folder / part) for part in ("Linear-Explanations", "semanticlens", "neurolens/src")
        ]
        self.dissect = _module(folder / "CLIP-dissect" / "similarity.py")

    def methods(self) -> dict[str, Method]:
        """By name; all but the last of either source."""
        return {
            "CLIP-Dissect softwpmi": self._dissect("soft_wpmi"),
            "CLIP-Dissect wpmi": self._dissect("wpmi"),
            "CLIP-Dissect rank-reorder": self._dissect("rank_reorder"),
            "CLIP-Dissect cos-cubed": self._dissect("cos_similarity_cubed"),
            "SemanticLens": self.semantic_lens,
            "contrastive projection, γ 1": lambda shown: self.contrastive(shown, 1.0),
            "contrastive projection, γ ½": lambda shown: self.contrastive(shown, 0.5),
            "LE(label)": self.linear,
        }

    def _dissect(self, name: str) -> Method:
        def call(shown: Shown) -> Explained:
            similarity = shown.images @ shown.words.T
            scorer = getattr(self.dissect, name)
            return _best(scorer(similarity, shown.activations, device="cpu"))

        return call

    def semantic_lens(self, shown: Shown) -> Explained:
        """Cosine of a word with the mean embedding of a unit's strongest images."""
        from semanticlens.scores import similarity_score

        top = shown.activations.topk(EXAMPLES[0], dim=0).indices.T
        return _best(similarity_score(shown.images[top].mean(dim=1), shown.words))

    def contrastive(self, shown: Shown, gamma: float) -> Explained:
        """The same, less what the strongest images share with the most similar ones that the unit is silent at."""
        from neurolens.score_function.contrastive_projection_score_function import (
            ContrastiveProjectionScoreFunction,
        )
        from neurolens.target_model.neuron_data import utils
        from neurolens.target_model.neuron_data.neuron_data import NeuronData

        def load_activations(*, neuron_indices: int, **rest: Any) -> torch.Tensor:
            return shown.activations[:, [neuron_indices]]

        utils.load_activations = load_activations
        settings = SimpleNamespace(
            neuron_data=SimpleNamespace(neg_fetch_batch_size=4096, allow_neg_reuse=True)
        )
        strongest = shown.activations.topk(EXAMPLES[1], dim=0)
        pairs = []
        for unit in range(shown.activations.shape[1]):
            positive = NeuronData(
                neuron_idx=unit,
                indices=strongest.indices[:, unit],
                activation_values=strongest.values[:, unit],
                similarity_values=torch.ones(EXAMPLES[1]),
                probe_dataset_overall_mean=float(shown.activations[:, unit].mean()),
            )
            negative = utils._get_negative_neuron_data(
                config=settings, path_configs=None, img_dataset=None, target_model=None,
                pos_neuron_data=positive, device="cpu", all_img_embds=shown.images,
            )  # fmt: skip
            pairs.append((positive, negative))
        data = SimpleNamespace(
            device="cpu",
            pos_embds=torch.stack([shown.images[one.indices] for one, _ in pairs]),
            neg_embds=torch.stack([shown.images[one.indices] for _, one in pairs]),
            similarity_values=torch.stack([one.similarity_values for _, one in pairs]),
            activation_values=torch.stack([one.activation_values for one, _ in pairs]),
        )
        own = SimpleNamespace(
            gamma=gamma, topk_text=1, get_text_embds=lambda device: shown.words.to(device)
        )
        _, word = ContrastiveProjectionScoreFunction.compute_text_scores(own, data)
        return Explained(word[:, 0].numpy())

    def linear(self, shown: Shown) -> Explained:
        """LE(label): a sparse linear model of all labels, then a greedy search, as their explain_neurons.py calls them."""
        import linear_explanation as own

        labels, activations = shown.labels, shown.activations
        active = (labels.topk(5, dim=0).values.mean(dim=0) >= 0.5) & (labels.std(dim=0) >= 1e-5)
        known = torch.nonzero(active)[:, 0]
        labels = labels[:, known]
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))
        # Their split is 70 % and 10 % of all; the test images are not here.
        cut = int(0.875 * len(order))
        train, val = order[:cut].sort().values, order[cut:].sort().values
        weights = np.zeros((activations.shape[1], shown.labels.shape[1]), np.float32)
        word = np.zeros(activations.shape[1], np.int64)
        for start in range(0, activations.shape[1], 128):
            part = activations[:, start : start + 128]
            torch.manual_seed(SEED)
            fitted = own.train_glm_model(*own.get_glm_datasets(labels, part, train, val), "cpu")
            ranked = fitted.weight.detach().sort(dim=1, descending=True).indices
            for unit in range(part.shape[1]):
                target = part[:, [unit]]
                concepts, weight, _, _ = own.greedy_search(
                    labels[train], labels[val], target[train], target[val], ranked[unit], "cpu"
                )
                # Where no candidate agreed with the unit at all, the word is the sparse model's first, and nothing is simulated.
                word[start + unit] = known[ranked[unit, 0]]
                if weight is not None:
                    # Where the last candidate was not taken, `concepts` has it too, and no weight for it.
                    some = known[concepts][: len(weight)]
                    weights[start + unit, some.numpy()] = weight.numpy()
                    word[start + unit] = weights[start + unit].argmax()
        return Explained(word, weights)


def _best(scores: torch.Tensor) -> Explained:
    return Explained(scores.argmax(dim=1).numpy())


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def judged(truth: Truth, known: Known, found: Explained, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What the held-out half says of each unit's explanation, `[units]` each; NaN where it has no image of the word."""
    concepts = known.design.concept[rows]
    values = np.nan_to_num(truth.activations[rows].astype(np.float64))
    images = known.images[rows] @ known.words.T
    out = {name: np.full(len(found.word), np.nan) for name in ("by label", "by cosine", "AUC", "MAD")}  # fmt: skip
    for unit, word in enumerate(found.word):
        x, has = values[:, unit], concepts == word
        n, rest = int(has.sum()), int((~has).sum())
        if not n or not x.std():
            continue
        predicted = has.astype(np.float64)
        if found.weights is not None:
            predicted = found.weights[unit][concepts].astype(np.float64)
        if predicted.std():
            out["by label"][unit] = np.corrcoef(x, predicted)[0, 1]
        out["by cosine"][unit] = np.corrcoef(x, images[:, word])[0, 1]
        out["AUC"][unit] = (rankdata(x)[has].sum() - n * (n + 1) / 2) / (n * rest)
        out["MAD"][unit] = (x[has].mean() - x[~has].mean()) / (x[~has].std() or np.nan)
    out["right"] = np.array(
        [int(w) in some for w, some in zip(found.word, truth.right, strict=True)], np.float64
    )
    return out


def mean_of(values: np.ndarray) -> tuple[float, float, float]:
    """Mean over the units that have it, and its interval."""
    kept = values[np.isfinite(values)]
    return (
        float(kept.mean()) if len(kept) else float("nan"),
        *bootstrap_interval(np.mean, kept, draws=DRAWS, seed=SEED),
    )


def compare(truth: Truth, known: Known, peers: Peers, units: int) -> list[dict[str, Any]]:
    """Every method on one truth: a row for each method and source."""
    has = np.flatnonzero([bool(some) for some in truth.right])
    chosen = np.sort(np.random.default_rng(SEED).permutation(has)[:units])
    truth = Truth(
        title=truth.title,
        activations=truth.activations[:, chosen],
        right=[truth.right[i] for i in chosen],
    )
    fit, rest = (np.flatnonzero(known.design.split.scoring == half) for half in (False, True))
    rows = []
    for source, (task, images, words) in zip(SOURCES, known.tasks().values(), strict=True):
        shown = Shown(
            activations=torch.from_numpy(np.nan_to_num(truth.activations[fit].astype(np.float32))),
            images=torch.from_numpy(np.ascontiguousarray(images[fit], dtype=np.float32)),
            words=torch.from_numpy(np.ascontiguousarray(words, dtype=np.float32)),
            labels=torch.eye(len(words))[torch.from_numpy(known.design.concept[fit])],
        )

        def ours(_: Shown, task: Any = task) -> Explained:
            return Explained(task.named(truth.activations)[0].word[:, 0])

        def random(shown: Shown) -> Explained:
            rng = np.random.default_rng(SEED)
            return Explained(rng.integers(len(shown.words), size=shown.activations.shape[1]))

        methods: dict[str, Method] = {"ours": ours, "random word": random, **peers.methods()}
        if source == "similarity":
            del methods["LE(label)"]
        own: dict[str, np.ndarray] = {}
        for name, method in methods.items():
            started = time.process_time()
            with _silent():
                found = method(shown)
            seconds = time.process_time() - started
            facts = judged(truth, known, found, rest)
            own = own or facts
            row: dict[str, Any] = {"units": truth.title, "n": len(chosen), "words": len(words), "source": source, "method": name, "seconds": round(seconds, 1)}  # fmt: skip
            right = int(facts["right"].sum())
            for what, values in facts.items():
                mean, low, high = mean_of(values)
                if what == "right":
                    low, high = wilson_interval(right, len(chosen))
                row[what] = [mean, low, high]
                row[f"{what} − ours"] = list(mean_of(values - own[what]))
            rows.append(row)
            print(line(row), flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    cells = [row["units"], str(row["n"]), row["source"], row["method"]]
    for what, digits in (("right", 2), ("by label", 3), ("by cosine", 3), ("AUC", 3), ("MAD", 2)):
        mean, low, high = row[what]
        _, less, more = row[f"{what} − ours"]
        # Better or worse than ours, where the interval of the difference leaves out 0.
        mark = " ▲" if less > 0 else " ▼" if more < 0 else ""
        cells.append(f"{mean:.{digits}f} ({low:.{digits}f}–{high:.{digits}f}){mark}")
    return f"| {' | '.join([*cells, str(row['seconds'])])} |"


HEAD = (
    "| units | n | by | method | right | simulated by label | by cosine | CoSy AUC | CoSy MAD | s of processor |\n"
    "| --- | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def main() -> None:
    """Print the table, and with --json its rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("atlas", nargs="?", type=Path)
    parser.add_argument("--peers", type=Path, required=True, help="folder of their clones")
    parser.add_argument("--units", type=int, default=100, help="of each kind, drawn at random")
    parser.add_argument(
        "--only", nargs="+", metavar="TEXT", help="kinds of units whose title has it"
    )
    parser.add_argument("--json", type=Path, help="write the rows there")
    arguments = parser.parse_args()
    peers, rows = Peers(arguments.peers), []
    print(HEAD)
    planted = (planted_truth(2 * arguments.units, noise) for noise in (0.15, 0.3))
    recorded = atlas_truths(open_atlas(arguments.atlas)) if arguments.atlas else ()
    for truth, known in chain(planted, recorded):
        if any(text in truth.title for text in arguments.only or [""]):
            rows += compare(truth, known, peers, arguments.units)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
