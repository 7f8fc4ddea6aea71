"""Teach the small text tower to say what the sentence encoder says.

The image tower is then trained against this tower's own outputs, so nothing of the teacher has to be shipped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training import languages, teacher
from training.architecture import CONTEXT, create, load_text
from training.spelling import with_spelling

TEMPLATES = (
    "{}",
    "a photo of a {}",
    "an image of a {}",
    "a drawing of a {}",
    "an icon of a {}",
    "the word {}",
    "{} symbol",
)


def text_features(model: Any, tokens: Any) -> Any:
    """Embeddings of `tokens` `[batch, length]`, equal to `encode_text` but over the used length only."""
    import torch

    length = tokens.shape[1]
    x = torch.nn.functional.embedding(tokens, model.token_embedding.weight, sparse=model.training)
    x = x + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x)
    x = x[torch.arange(x.shape[0]), tokens.argmax(dim=-1)]
    return x @ model.text_projection


def _epoch_batches(
    rng: np.random.Generator, weights: np.ndarray, lengths: np.ndarray, batch: int
) -> list[np.ndarray]:
    """Weighted draws, grouped by length so that short texts do not pay for long ones."""
    draws = rng.choice(len(weights), size=batch * 64, p=weights)
    draws = draws[np.argsort(lengths[draws], kind="stable")]
    batches = [draws[i : i + batch] for i in range(0, len(draws), batch)]
    rng.shuffle(batches)  # type: ignore[arg-type]
    return batches


def _start_from_words(model: Any, tokenizer: Any, texts: list[str], targets: np.ndarray) -> None:
    """Let each whole-word token begin as its own word's target, read out by a matching projection."""
    import torch

    axes = teacher.main_axes(targets, model.text_projection.shape[0])
    basis = torch.from_numpy(axes.copy())
    with torch.no_grad():
        torch.nn.init.normal_(model.token_embedding.weight, std=0.02)
        torch.nn.init.normal_(model.positional_embedding, std=0.01)
        rows = torch.from_numpy(targets) @ basis.T
        for i, text in enumerate(texts):
            token = tokenizer.encoder.get(f"{text}</w>")
            if token is not None:
                model.token_embedding.weight[token] = 0.5 * rows[i]
        model.text_projection.copy_(basis * 0.3)


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What a text tower is to learn: `texts`, how often each is drawn, and of each the row of `targets` that it is to mean."""

    texts: list[str]
    of: np.ndarray
    weights: np.ndarray
    targets: np.ndarray


def fit(
    model: Any,
    lessons: Lessons,
    *,
    minutes: float,
    steps: int = 0,
    batch: int = 256,
    peak: float = 2e-3,
    seed: int = 0,
) -> Any:
    """Train for `minutes`, or for `steps` when given, so that each text is embedded near its target; returns the texts' tokens."""
    import torch
    from open_clip.tokenizer import SimpleTokenizer

    tokens = SimpleTokenizer(context_length=CONTEXT)(lessons.texts)
    lengths = (tokens != 0).sum(1).numpy()
    weights = lessons.weights / lessons.weights.sum()
    goal = torch.from_numpy(lessons.targets)
    model.train()
    # Of 49,408 token rows a batch touches a few hundred, so their gradient and optimiser are sparse.
    rows_optimiser = torch.optim.SparseAdam(
        [model.token_embedding.weight], lr=peak, betas=(0.9, 0.98)
    )
    parameters = [
        model.positional_embedding,
        model.text_projection,
        *model.transformer.parameters(),
        *model.ln_final.parameters(),
    ]
    optimiser = torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    rng = np.random.default_rng(seed)
    start, step, running = time.monotonic(), 0, 0.0
    queue: list[np.ndarray] = []

    def progress() -> float:
        if steps:
            return step / steps
        return (time.monotonic() - start) / (60 * minutes) if minutes else 1.0

    while (done := progress()) < 1:
        for group in optimiser.param_groups + rows_optimiser.param_groups:
            group["lr"] = peak * min(1.0, (step + 1) / 100) * max(0.0, 1 - done)
        queue = queue or _epoch_batches(rng, weights, lengths, batch)
        pick = queue.pop()
        part = tokens[pick][:, : int(lengths[pick].max())]
        wanted = goal[lessons.of[pick]]
        got = torch.nn.functional.normalize(text_features(model, part), dim=-1)
        likeness = wanted @ wanted.T
        soft = torch.softmax(likeness * 30, dim=-1)
        loss = 5 * (1 - (got * wanted).sum(-1)).mean() + 0.2 * torch.nn.functional.cross_entropy(
            got @ wanted.T * 30, soft
        )
        optimiser.zero_grad(set_to_none=True)
        rows_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        rows_optimiser.step()
        step += 1
        running = 0.98 * running + 0.02 * float((got.detach() * wanted).sum(-1).mean())
        if step % 100 == 0:
            print(
                f"text step {step} {done:.0%} cosine {running / (1 - 0.98**step):.3f}", flush=True
            )
    return tokens


def train(
    out: Path,
    *,
    minutes: float = 12.0,
    steps: int = 0,
    batch: int = 256,
    peak: float = 2e-3,
    seed: int = 0,
    threads: int = 2,
    init: Path | None = None,
    spelling: float = 0.0,
) -> None:
    """Train for `minutes`, or for `steps` when given, then save the text tower to `text.pt` and print its recall of the names.

    Of every target a share `spelling` says how the text is spelt (`spelling.with_spelling`). With 0 minutes the tower stays as it is. Names in other languages (`languages.tsv`) are to mean what the English one does. `init` is a `text.pt` to go on from.
    """
    import torch
    from open_clip.tokenizer import SimpleTokenizer

    torch.set_num_threads(threads)
    texts, kinds, targets = teacher.lookup(out)
    model = create(seed=seed)
    if spelling:
        targets = with_spelling(texts, targets, spelling, model.text_projection.shape[0])
    tokenizer = SimpleTokenizer(context_length=CONTEXT)
    rows, rows_target, weight = [], [], []
    share = {"names": 6.0, "captions": 2.0, "words": 1.0}
    for i, (text, kind) in enumerate(zip(texts, kinds, strict=True)):
        templates = TEMPLATES if kind == "names" else ("{}",)
        for template in templates:
            rows.append(template.format(text))
            rows_target.append(i)
            weight.append(share[kind] / len(templates) * (2.0 if template == "{}" else 1.0))
    row_of = {text: i for i, text in enumerate(texts)}
    abroad = [
        (name, row_of[concept])
        for concept, names in languages.read(out / "languages.tsv").items()
        for name in names
        if concept in row_of and name not in row_of
    ]
    for name, target in abroad:
        rows.append(name)
        rows_target.append(target)
        weight.append(share["captions"])
    if init is None:
        _start_from_words(model, tokenizer, texts, targets)
    else:
        load_text(model, torch.load(init))
    lessons = Lessons(
        texts=rows, of=np.array(rows_target), weights=np.array(weight), targets=targets
    )
    tokens = fit(model, lessons, minutes=minutes, steps=steps, batch=batch, peak=peak, seed=seed)
    goal = torch.from_numpy(targets)
    model.eval()
    used = torch.unique(tokens)
    keep = torch.zeros(model.vocab_size, 1)
    keep[used] = 1
    with torch.no_grad():
        model.token_embedding.weight.mul_(keep)
        names = [t for t, k in zip(texts, kinds, strict=True) if k == "names"]
        wanted = goal[[i for i, k in enumerate(kinds) if k == "names"]]
        got = torch.nn.functional.normalize(text_features(model, tokenizer(names)), dim=-1)
        recall = float(((got @ wanted.T).argmax(1) == torch.arange(len(names))).float().mean())
        print(
            f"names: cosine {float((got * wanted).sum(-1).mean()):.3f}, top-1 {recall:.1%} of {len(names)}"
        )
        if abroad:
            place = {text: i for i, text in enumerate(names)}
            truth = torch.tensor([place[texts[target]] for _, target in abroad])
            got = text_features(model, tokenizer([name for name, _ in abroad]))
            right = float(((got @ wanted.T).argmax(1) == truth).float().mean())
            print(f"names in other languages: top-1 {right:.1%} of {len(abroad)}")
    torch.save(
        {k: v for k, v in model.state_dict().items() if not k.startswith("visual")}, out / "text.pt"
    )
