"""Train the image tower against the text tower's fixed outputs: every step is a softmax over all names.

Low resolution first; the schedule runs on the clock (`minutes`) or on a number of samples, and a checkpoint is
written every few minutes so that a stopped run goes on where it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training import teacher
from training.architecture import MEAN, STD, create
from training.examples import Corpus, draw
from training.text_tower import TEMPLATES, text_features

STAGES = ((0.0, 64, 128), (0.5, 96, 128), (0.6, 128, 128))
ON_THE_PICTURE = 0.55
"""What a picture with another concept's word on it is mostly about: itself, by this much, the word by the rest."""


@dataclass(frozen=True)
class Recipe:
    """Settings of a run, saved with its checkpoint."""

    minutes: float = 95.0
    samples: int = 0
    peak: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.02
    seed: int = 0
    bf16: bool = True


def stage(done: float) -> tuple[int, int]:
    """Image size and batch size at a fraction `done` of the run."""
    size, batch = [(s, b) for start, s, b in STAGES if done >= start][-1]
    return size, batch


def name_targets(model: Any, texts: list[str], templates: tuple[str, ...] = ("{}",)) -> Any:
    """The text tower's unit embeddings of `texts`, averaged over `templates`, `[texts, dim]`."""
    import torch
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer(context_length=32)
    total = 0.0
    with torch.no_grad():
        for template in templates:
            parts = []
            for start in range(0, len(texts), 1024):
                tokens = tokenizer([template.format(t) for t in texts[start : start + 1024]])
                tokens = tokens[:, : int((tokens != 0).sum(1).max())]
                parts.append(torch.nn.functional.normalize(text_features(model, tokens), dim=-1))
            total = total + torch.cat(parts)
    return torch.nn.functional.normalize(total, dim=-1)


def _resize_positions(embedding: Any, size: int) -> Any:
    """Attention-pool positions `[1 + n*n, width]` interpolated to an image of `size` pixels (stride 32)."""
    import torch

    grid, n = int((embedding.shape[0] - 1) ** 0.5), size // 32
    if grid == n:
        return embedding
    cells = embedding[1:].T.reshape(1, -1, grid, grid)
    cells = torch.nn.functional.interpolate(cells, size=(n, n), mode="bicubic", align_corners=False)
    return torch.cat([embedding[:1], cells.reshape(embedding.shape[1], n * n).T])


def _targets(model: Any, corpus: Corpus, out: Path) -> tuple[Any, Any]:
    """What names and bank mean: by the text tower once it is trained, by the teacher until then."""
    import torch

    if (out / "text.pt").exists():
        model.load_state_dict(torch.load(out / "text.pt"), strict=False)
        print("targets: the text tower", flush=True)
        return name_targets(model, corpus.names, TEMPLATES), name_targets(model, corpus.bank)
    texts, _, targets = teacher.lookup(out)
    row = {text: i for i, text in enumerate(texts)}
    print("targets: the teacher", flush=True)
    names = torch.from_numpy(targets[[row[name] for name in corpus.names]])
    return names, torch.from_numpy(targets[[row[text] for text in corpus.bank]])


class Loader:
    """Batches made by worker processes; the image size can change between batches."""

    def __init__(
        self, corpus: Corpus, seed: int, workers: int = 2, cores: frozenset[int] = frozenset()
    ) -> None:
        import multiprocessing

        context = multiprocessing.get_context("fork")
        self._requests: Any = context.Queue()
        self._results: Any = context.Queue(maxsize=6)
        for i in range(workers):
            args = (corpus, self._requests, self._results, seed * 1000 + i, cores)
            context.Process(target=_work, args=args, daemon=True).start()

    def batches(self, shape: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Endless batches; `shape()` is asked for `(size, batch)` when each is ordered."""
        for _ in range(6):
            self._requests.put(shape())
        while True:
            yield self._results.get(timeout=300)
            self._requests.put(shape())


def _work(corpus: Corpus, requests: Any, results: Any, seed: int, cores: frozenset[int]) -> None:
    """Answer every `(size, count)` with images and their labels `[count, 3]`, on `cores` if any are named."""
    os.nice(2)
    if cores:
        os.sched_setaffinity(0, cores)
    rng = np.random.default_rng([seed, int(time.time())])
    while True:
        size, count = requests.get()
        images = np.empty((count, size, size, 3), np.uint8)
        labels = np.empty((count, 3), np.int64)
        for i in range(count):
            images[i], *labels[i] = draw(corpus, size, rng)
        results.put((images, labels))


def _loss_of_concepts(logits: Any, first: Any, second: Any) -> Any:
    """Cross-entropy over the names; a picture with a word on it (`second` >= 0) is about both."""
    import torch
    from torch.nn.functional import cross_entropy

    loss = cross_entropy(logits, first, label_smoothing=0.02, reduction="none")
    both = second >= 0
    if both.any():
        of_word = cross_entropy(logits[both], second[both], label_smoothing=0.02, reduction="none")
        loss = loss.index_put(
            (torch.nonzero(both)[:, 0],),
            ON_THE_PICTURE * loss[both] + (1 - ON_THE_PICTURE) * of_word,
        )
    return loss.mean()


def train(
    corpus: Corpus,
    out: Path,
    recipe: Recipe,
    *,
    threads: int = 2,
    cores: frozenset[int] = frozenset(),
) -> None:
    """Run the recipe to its end; `out/image.pt` is the checkpoint and, at the end, the result.

    With `cores` the computation stays on those and the loader on the others: on a processor with few cores two
    threads that share one with anything else wait for each other most of the time.
    """
    import torch
    from torch.nn.functional import cross_entropy, normalize

    torch.set_num_threads(threads)
    first_size = STAGES[0][1]
    model = create(first_size, recipe.seed)
    names, bank = _targets(model, corpus, out)
    visual = model.visual.to(memory_format=torch.channels_last)
    visual.attnpool_size = first_size
    # Post-ReLU features share one large mean, and a softmax over names first collapses onto it. Standardising
    # the output from the first step on removes that plateau; `export` folds it into the last linear map.
    visual.standardise = torch.nn.BatchNorm1d(names.shape[1], affine=False)
    log_scale = torch.nn.Parameter(torch.tensor(np.log(8.0), dtype=torch.float32))
    optimiser = _optimiser(visual, log_scale, recipe)
    checkpoint, spent, seen, step = out / "image.pt", 0.0, 0, 0
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        size = saved["size"]
        _set_size(visual, size)
        visual.load_state_dict(saved["visual"])
        log_scale.data = saved["log_scale"]
        optimiser = _optimiser(visual, log_scale, recipe)
        optimiser.load_state_dict(saved["optimiser"])
        spent, seen, step = saved["spent"], saved["seen"], saved["step"]
        print(f"resumed at {seen} samples, {spent / 60:.1f} minutes", flush=True)
    mean = torch.tensor(MEAN).view(1, 3, 1, 1) * 255
    std = torch.tensor(STD).view(1, 3, 1, 1) * 255
    started, last_save, shown = time.monotonic() - spent, time.monotonic(), (time.monotonic(), seen)

    def progress() -> float:
        return (
            seen / recipe.samples
            if recipe.samples
            else (time.monotonic() - started) / (60 * recipe.minutes)
        )

    averages = {"concept": 0.0, "top1": 0.0, "other": 0.0}
    visual.train()
    everywhere = os.sched_getaffinity(0)
    loader = Loader(corpus, recipe.seed, cores=frozenset(everywhere - cores) if cores else cores)
    if cores:
        os.sched_setaffinity(0, cores & everywhere)
    for images, labels in loader.batches(lambda: stage(progress())):
        concepts, seconds, texts = labels.T
        done = progress()
        if done >= 1:
            break
        if images.shape[1] != visual.attnpool_size:
            _set_size(visual, images.shape[1])
            optimiser = _optimiser(visual, log_scale, recipe, old=optimiser)
        for group in optimiser.param_groups:
            group["lr"] = recipe.peak * min(1.0, done / recipe.warmup + 0.01) * (1 - done)
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().sub_(mean).div_(std)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.bf16):
            features = visual(pixels)
        features = normalize(visual.standardise(features.float()), dim=-1)
        scale = log_scale.exp().clamp(max=100)
        is_concept = torch.from_numpy(concepts >= 0)
        wanted = torch.from_numpy(concepts[concepts >= 0])
        second = torch.from_numpy(seconds[concepts >= 0])
        if not len(wanted):
            continue
        logits = scale * features[is_concept] @ names.T
        loss_concept = _loss_of_concepts(logits, wanted, second)
        rows = torch.from_numpy(texts[texts >= 0])
        target = bank[rows]
        soft = torch.softmax(40 * target @ bank.T, dim=-1)
        loss_other = (
            cross_entropy(scale * features[~is_concept] @ bank.T, soft)
            if len(rows)
            else torch.zeros(())
        )
        loss = 0.8 * loss_concept + 0.2 * loss_other
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(visual.parameters(), 1.0)
        optimiser.step()
        step, seen = step + 1, seen + len(images)
        top1 = float((logits.argmax(1) == wanted).float().mean())
        for key, value in (
            ("concept", loss_concept.item()),
            ("top1", top1),
            ("other", loss_other.item()),
        ):
            averages[key] = 0.98 * averages[key] + 0.02 * value
        if step % 50 == 0:
            now = time.monotonic()
            rate, shown = (seen - shown[1]) / (now - shown[0]), (now, seen)
            line = " ".join(
                f"{k} {v / (1 - 0.98 ** min(step, 999)):.3f}" for k, v in averages.items()
            )
            left = (1 - done) * (now - started) / max(done, 1e-6) / 60
            print(
                f"step {step} samples {seen} {done:.1%} size {images.shape[1]} {rate:.0f} images/s {line} "
                f"scale {float(scale.detach()):.1f} {left:.0f} min left",
                flush=True,
            )
        if time.monotonic() - last_save > 240:
            _checkpoint(
                checkpoint,
                visual,
                log_scale,
                optimiser,
                time.monotonic() - started,
                seen,
                step,
                recipe,
            )
            last_save = time.monotonic()
    _checkpoint(
        checkpoint, visual, log_scale, optimiser, time.monotonic() - started, seen, step, recipe
    )
    print(
        f"trained on {seen} samples in {(time.monotonic() - started) / 60:.1f} minutes", flush=True
    )


def _checkpoint(
    path: Path,
    visual: Any,
    log_scale: Any,
    optimiser: Any,
    spent: float,
    seen: int,
    step: int,
    recipe: Recipe,
) -> None:
    """Write the state beside `path` and rename it into place, so that a kill leaves the last one whole."""
    import torch

    state = {
        "visual": visual.state_dict(),
        "log_scale": log_scale.data,
        "optimiser": optimiser.state_dict(),
        "size": visual.attnpool_size,
        "spent": spent,
        "seen": seen,
        "step": step,
        "recipe": asdict(recipe),
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.rename(path)


def _set_size(visual: Any, size: int) -> None:
    import torch

    pool = visual.attnpool
    pool.positional_embedding = torch.nn.Parameter(
        _resize_positions(pool.positional_embedding.data, size)
    )
    visual.image_size = (size, size)
    visual.attnpool_size = size


def _optimiser(visual: Any, log_scale: Any, recipe: Recipe, old: Any = None) -> Any:
    """AdamW with weight decay on matrices only; moments of unchanged parameters are kept from `old`."""
    import torch

    decay = [p for p in visual.parameters() if p.ndim >= 2]
    plain = [p for p in visual.parameters() if p.ndim < 2] + [log_scale]
    new = torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": recipe.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=recipe.peak,
        betas=(0.9, 0.98),
        fused=True,
    )
    if old is not None:
        for group in new.param_groups:
            for p in group["params"]:
                if p in old.state:
                    new.state[p] = old.state[p]
    return new
