"""Train the image tower against the text tower's fixed outputs: every step is a softmax over all names.

Low resolution first; the schedule runs on the clock (`minutes`) or on a number of samples, and a checkpoint is
written every few minutes so that a stopped run goes on where it was (`running`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from synesthete.models.text import encode_text
from training import teacher
from training.architecture import CONTEXT, create, load_text
from training.corpus import Corpus
from training.examples import draw
from training.loading import Drawn, Loader
from training.objective import Objective
from training.running import Recipe, Run
from training.text_tower import TEMPLATES
from training.waking import silent, wake

STAGES = ((0.0, 64), (0.5, 96), (0.6, 128))
"""Image sizes, each from a fraction of the run on."""
STEM = ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")


def name_targets(model: Any, texts: list[str], templates: tuple[str, ...] = ("{}",)) -> Any:
    """The text tower's unit embeddings of `texts`, averaged over `templates`, `[texts, dim]`."""
    import torch
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer(context_length=CONTEXT)
    total = 0.0
    with torch.no_grad():
        for template in templates:
            parts = []
            for start in range(0, len(texts), 1024):
                tokens = tokenizer([template.format(t) for t in texts[start : start + 1024]])
                parts.append(encode_text(model, tokens))
            total = total + torch.cat(parts)
    return torch.nn.functional.normalize(total, dim=-1)


def _targets(model: Any, corpus: Corpus, out: Path) -> tuple[Any, Any]:
    """What names and bank mean: by the text tower once it is trained, by the teacher until then."""
    import torch

    if (out / "text.pt").exists():
        load_text(model, torch.load(out / "text.pt"))
        print("targets: the text tower", flush=True)
        return name_targets(model, corpus.names, TEMPLATES), name_targets(model, corpus.bank)
    texts, _, targets = teacher.lookup(out)
    row = {text: i for i, text in enumerate(texts)}
    print("targets: the teacher", flush=True)
    names = torch.from_numpy(targets[[row[name] for name in corpus.names]])
    return names, torch.from_numpy(targets[[row[text] for text in corpus.bank]])


def _images(
    corpus: Corpus, size: int, count: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """At least `count` examples in batches, `[128, size, size, 3]` each."""
    for _ in range(0, count, 128):
        yield np.stack([draw(corpus, size, rng)[0] for _ in range(128)])


def train(
    corpus: Corpus,
    out: Path,
    recipe: Recipe,
    *,
    threads: int = 2,
    cores: frozenset[int] = frozenset(),
    helpers: frozenset[int] = frozenset(),
    init: Path | None = None,
    stages: tuple[tuple[float, int], ...] = STAGES,
    frozen: tuple[str, ...] = (),
    waking: int = 0,
    batches: Path | None = None,
) -> None:
    """Run the recipe to its end; `out/image.pt` is the checkpoint and, at the end, the result.

    With `cores` the computation stays on those and the loader on the others: on a processor with few cores two
    threads that share one with anything else wait for each other most of the time. Each core of `helpers` gets a
    process that adds gradients (`helper`). `init` is a checkpoint of an earlier run: its weights and its
    optimiser's moments, under a new schedule. `frozen` names parts of the tower (`STEM`, `layer1`) that stay as they are: the first
    ones see the most pixels, and without their gradients a step takes two thirds of the time. With `waking`, units that none of so many
    examples excites are woken at the start (`training.waking`). `batches` is a folder of examples drawn beforehand
    (`loading.Order`), as many and as large as `recipe` and `stages` say.
    """
    import torch

    torch.set_num_threads(threads)
    # Gradients of a tower that knows its names are so small that many are denormal, on which processors are slow.
    torch.set_flush_denormal(True)
    model = create(stages[0][1], recipe.seed)
    names, bank = _targets(model, corpus, out)
    visual = model.visual.to(memory_format=torch.channels_last)
    visual.attnpool_size = stages[0][1]
    # Post-ReLU features share one large mean, and a softmax over names first collapses onto it. Standardising
    # the output from the first step on removes that plateau; `export` folds it into the last linear map.
    visual.standardise = torch.nn.BatchNorm1d(names.shape[1], affine=False)
    log_scale = torch.nn.Parameter(torch.tensor(np.log(recipe.scale), dtype=torch.float32))
    objective = Objective(
        visual,
        log_scale,
        names,
        bank,
        sparsity=recipe.sparsity,
        bf16=recipe.bf16,
        votes=recipe.votes,
        spread=recipe.spread,
        letters=recipe.letters,
        last_letters=recipe.last_letters,
        looks=recipe.looks,
        others=recipe.others,
        spelt=list(corpus.spelt),
        described=corpus.looks,
    )  # fmt: skip
    run = Run(objective, recipe, out / "image.pt", stages)
    visual.train()
    if (out / "image.pt").exists():
        run.load(out / "image.pt")
        print(f"resumed at {run.seen} samples, {run.spent / 60:.1f} minutes", flush=True)
    elif init is not None:
        run.load(init, continued=False)
        run.resize(stages[0][1])
        print(f"started from {init.name}", flush=True)
        if waking:
            rng = np.random.default_rng(recipe.seed)
            asleep = silent(visual, _images(corpus, stages[0][1], waking, rng))
            wake(visual, asleep, objective.votes.weight if objective.votes else None)
            print(f"woken: {int(asleep.sum())} units", flush=True)
    if init is not None:
        visual.standardise.eval()
    for name in frozen:
        visual.get_submodule(name).requires_grad_(False).eval()
    everywhere = os.sched_getaffinity(0)
    loader = (
        Drawn(batches, run.seen // recipe.batch)
        if batches
        else Loader(corpus, recipe.seed, cores=frozenset(everywhere - cores) if cores else cores)
    )
    if cores:
        os.sched_setaffinity(0, cores & everywhere)
    try:
        run.go(loader, helpers)
    finally:
        torch.set_flush_denormal(False)
