"""Audits measured: the attack table beside the published one, APGD beside torchattacks, run time and memory.

    python benchmarks/audits.py --seed 1        # the shipped model
    python benchmarks/audits.py --model RN50/openai --images 200

Prints what docs/audits.md and closing notes quote: every rate with n and interval, and the control.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

from synesthete._core.intervals import Rate, paired_change
from synesthete.analysis.zero_shot import class_embeddings
from synesthete.audits import run_audit, write_report
from synesthete.audits.adversarial.attacks import apgd, cross_entropy, dlr
from synesthete.audits.adversarial.audit import PixelClassifier, to_pixels
from synesthete.audits.images import load_images
from synesthete.models import load_model

EPSILONS = (0.25, 0.5)


def shown(rate: dict[str, Any] | None) -> str:
    """A rate with its interval and n."""
    if rate is None or rate["rate"] is None:
        return "–"
    low, high = rate["interval"]
    return f"{100 * rate['rate']:.1f} % ({100 * low:.1f}–{100 * high:.1f}, n {rate['n']})"


def against_torchattacks(model: Any, images: int, steps: int, seed: int) -> None:
    """How many images survive ours and theirs, their difference on the same images, and how long each takes."""
    import torchattacks

    chosen = load_images(model, model.name, limit=images, seed=seed, training=False)
    classifier = PixelClassifier.of(model, class_embeddings(model, chosen.classes))
    pixels, truth = to_pixels(chosen.images), torch.from_numpy(chosen.truth)
    with torch.no_grad():
        right = classifier(pixels).argmax(1) == truth
    pixels, truth = pixels[right], truth[right]
    print(f"\nAPGD, {steps} steps, {len(truth)} images named right of {len(right)}: what survives")
    for epsilon in EPSILONS:
        for name, loss in (("ce", cross_entropy), ("dlr", dlr)):
            attack = torchattacks.APGD(
                classifier, eps=epsilon / 255, steps=steps, loss=name, seed=seed
            )
            tried: dict[str, Callable[[], torch.Tensor]] = {
                "torchattacks": lambda a=attack: a(pixels, truth),
                "ours": lambda e=epsilon, f=loss: apgd(classifier, pixels, truth, e / 255, f, steps=steps, seed=seed),
            }  # fmt: skip
            cells, left = [], []
            for who, run in tried.items():
                started = time.monotonic()
                found = run()
                seconds = time.monotonic() - started
                with torch.no_grad():
                    left.append((classifier(found).argmax(1) == truth).numpy())
                cells.append(f"{who} {shown(Rate.of(left[-1]).as_dict())} in {seconds:.1f} s")
            change, low, high = paired_change(*left)
            cells.append(f"ours less theirs {change:+.1%} ({low:+.1%} to {high:+.1%})")
            print(f"  {epsilon:g}/255 {name}: {'; '.join(cells)}", flush=True)


def print_typographic(part: dict[str, Any]) -> None:
    """The attack in all its forms."""
    print("\nWritten words, base style", part["style"])
    for head, outcome in part["classifiers"].items():
        print(
            f"  {head}: clean {shown(part['clean'][head])}; word {shown(outcome['to_word'])}, empty label "
            f"{shown(outcome['to_word_blank'])}; lost {shown(outcome['lost'])}, empty label {shown(outcome['lost_to_blank'])}"
        )
    for factor, rows in part["by"].items():
        print(f"  by {factor}: " + "; ".join(f"{r['value']} {shown(r['zero_shot']['to_word'])}" for r in rows))  # fmt: skip
    print(
        "  target ← text: published | ours, linear probe | ours, zero shot | pixels published, ours"
    )
    for row in part["published"]:
        print(
            f"    {row['target']} ← {row['text']}: {shown(row['published'])} | {shown(row['linear_probe'])} | "
            f"{shown(row['zero_shot'])} | {row['published_share']:.3f}, {row['share']}"
        )
    photos, stroop = part["photos"], part["stroop"]
    print(
        f"  labelled photos: clean {shown(photos['clean'])}, label answered {shown(photos['to_word'])}, of all "
        f"{shown(photos['to_word_of_all'])}; published {shown(photos['published']['zero_shot'])}"
    )
    print(f"  Stroop: word {shown(stroop['reads_the_word'])}, ink {shown(stroop['names_the_ink'])}")
    for row in part.get("carriers", {}).get("without", []):
        random = row.get("random", row)
        print(
            f"  {row['units']} units off: attack {shown(row['to_word'])}, random {shown(random['to_word'])}; clean "
            f"{shown(row['clean'])}, random {shown(random['clean'])}"
        )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--attacked", type=int, default=80, help="images for APGD")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of images, words and places")
    parser.add_argument("--out", default="", help="write the report into a folder")
    parser.add_argument("--only", choices=("audit", "apgd"), default=None)
    options = parser.parse_args()
    model = load_model(options.model)
    print(f"{model.name}, weights {model.weights_sha256[:12]}, seed {options.seed}")
    if options.only != "apgd":
        report = run_audit(
            model, "all", limit=options.images, steps=options.steps, seed=options.seed
        )
        print_typographic(report["typographic"])
        found = report["adversarial"]
        print("\nSmall changes: clean", shown(found["clean"]))
        for name, row in found["curves"].items():
            print(f"  {name}: " + "; ".join(f"{e:g}/255 {shown(r)}" for e, r in zip(found["epsilons"], row, strict=True)))  # fmt: skip
        print("\nAssociations")
        for test in report["bias"]["tests"]:
            print(
                f"  {test['attributes']} × {test['groups']}: {test['effect']:+.2f} ({test['low']:+.2f} to {test['high']:+.2f}), "
                f"p {test['p']:.3f}; things instead {test['control_effect']:+.2f}, p {test['control_p']:.3f}"
            )
        print("\nCost", report["cost"], f"on {torch.get_num_threads()} threads")
        if options.out:
            write_report(report, options.out)
    if options.only != "audit":
        against_torchattacks(model, options.attacked, options.steps, options.seed)


if __name__ == "__main__":
    main()
