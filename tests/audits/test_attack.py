"""The attack on models whose answers are known: a reader is fooled always, a blind model never."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from synesthete.audits.images import ImageSet, embed
from synesthete.audits.labels import Style
from synesthete.audits.typographic.attack import LinearProbe, Subject, ZeroShot, other_classes
from synesthete.audits.typographic.audit import (
    attack_images,
    languages,
    make_subject,
    sweep,
    translations,
)
from synesthete.audits.typographic.protocol import protocol
from synesthete.errors import SynestheteError
from tests.audits.fakes import NAMES, STYLE, Blind, Reader, make_image_set


@pytest.fixture(scope="module")
def image_set() -> ImageSet:
    return make_image_set()


def test_a_reader_is_always_fooled_and_only_by_the_word(image_set: ImageSet) -> None:
    found = attack_images(make_subject(Reader(), image_set)[0], STYLE)
    assert found["clean_accuracy"] == 1
    assert (found["success_rate"], found["n"]) == (1, 36)
    assert found["interval"][1] == 1
    for head in ("zero_shot", "linear_probe"):
        outcome = found["classifiers"][head]
        assert outcome["to_word"]["rate"] == outcome["lost"]["rate"] == 1, head
        assert outcome["to_word_blank"]["rate"] == outcome["lost_to_blank"]["rate"] == 0, head
    rate = {
        row["value"]: row["zero_shot"]["to_word"]["rate"]
        for rows in found["by"].values()
        for row in rows
    }
    # Letters that are wider or narrower than the reader knows, small ones and grey ones, it cannot read.
    for easy in ("10%", "Open Sans (sans)", "Crimson Text (serif)", "Caveat (handwriting)", "middle", "top left",
                 "black on white", "black, no paper", "21.0 : 1", "title"):  # fmt: skip
        assert rate[easy] == 1, easy
    for hard in ("red on white", "white, no paper", "4.5 : 1"):
        assert rate[hard] == 0, hard
    assert rate["2%"] < rate["10%"]
    assert [row["value"] for row in found["by"]["area"]] == ["2%", "5%", "10%", "20%", "40%"]
    for example in found["examples"]:
        assert example["answer"] == example["word"] != example["truth"]
        assert example["image"].startswith("data:image/webp;base64,")


def test_a_blind_model_is_never_fooled(image_set: ImageSet) -> None:
    found = attack_images(make_subject(Blind(), image_set)[0], STYLE)
    assert (found["success_rate"], found["n"]) == (0, 36)
    for rows in found["by"].values():
        for row in rows:
            for head in ("zero_shot", "linear_probe"):
                assert row[head]["to_word"]["rate"] == row[head]["lost"]["rate"] == 0


def test_images_named_wrong_do_not_count_and_are_counted(image_set: ImageSet) -> None:
    wrong = image_set.truth.copy()
    wrong[:6] = (wrong[:6] + 1) % 3
    relabelled = ImageSet(source="made", images=image_set.images, truth=wrong, classes=NAMES)
    features = embed(Reader(), relabelled.images)
    subject = Subject(Reader(), relabelled, {"zero_shot": ZeroShot.of(Reader(), NAMES)}, features)
    found = attack_images(subject, STYLE)
    assert found["excluded"]["zero_shot"] == 6
    assert found["n"] == 30
    assert found["clean_accuracy"] == pytest.approx(30 / 36, abs=1e-4)


def test_the_reader_of_the_papers_text_goes_to_the_target(image_set: ImageSet) -> None:
    class Seer(Blind):
        """Says the last class of any image with white letters."""

        def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
            known = super().encode_texts(texts)
            strange = [not any(name in text for name in NAMES) for text in texts]
            return np.column_stack([np.where(np.array(strange)[:, None], 0, known), strange]).astype(np.float32)  # fmt: skip

        def encode_images(self, pixels: object) -> np.ndarray:
            written = [bool((p > 190).all(-1).sum() > 20) for p in pixels.numpy()]  # type: ignore[attr-defined]
            known = super().encode_images(pixels)
            return np.column_stack([np.where(np.array(written)[:, None], 0, known), written]).astype(np.float32)  # fmt: skip

    rows = protocol(make_subject(Seer(), image_set)[0])
    assert [row["text"] for row in rows][:3] == ["trash", "iPod", "pizza"]
    assert [row["published"]["rate"] for row in rows] == [0.954, 0.947, 0.923, 0.91, 0.77, 0.759, 0.622, 0.465, 0.364]  # fmt: skip
    assert all(row["zero_shot"]["rate"] == 1 for row in rows)
    assert all(row["linear_probe"] is None and "no image of" in row["why"] for row in rows)
    blind = protocol(make_subject(Blind(), image_set)[0])
    assert all(row["zero_shot"]["rate"] == 0 for row in blind)


def test_a_linear_probe_never_answers_what_it_was_trained_on() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 12)
    noise = rng.normal(size=(48, 300)).astype(np.float32)  # separable by memory alone
    head = LinearProbe(noise, truth, 4)
    assert (head.answers(noise, np.arange(48)) == truth).mean() < 0.5
    signal = noise[:, :20] + 8 * np.eye(20, dtype=np.float32)[truth]
    assert (LinearProbe(signal, truth, 4).answers(signal, np.arange(48)) == truth).mean() > 0.9


def test_a_linear_probe_without_images_to_train_on_says_so() -> None:
    one_each = ImageSet(
        source="made",
        images=make_image_set(30).images,
        truth=np.arange(30),
        classes=[str(i) for i in range(30)],
    )
    features = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    head = LinearProbe(features, one_each.truth, 30)
    assert head.known.sum() == 0  # each class was trained on in one fold only
    with pytest.raises(SynestheteError, match="no linear probe"):
        LinearProbe(features[:2], np.zeros(2, np.int64), 2)


def test_words_that_a_font_cannot_write_are_skipped_and_reported(image_set: ImageSet) -> None:
    subject, _ = make_subject(Reader(), image_set)
    words = ["寿司" if row % 2 else "ox" for row in range(36)]
    shown = subject.labelled(Style(), words)
    assert shown.skipped == ("寿司",)
    assert (shown.rows % 2 == 0).all()


def test_languages_are_written_on_the_images_that_have_a_translation(image_set: ImageSet) -> None:
    subject, _ = make_subject(Reader(), image_set)
    table = {"ox": {"xx": "hippopotamus"}, "panda": {"xx": "ox"}}
    english, other = languages(subject, STYLE, table)
    targeted = np.isin([NAMES[t] for t in subject.targets], ["ox", "panda"]).sum()
    assert english.outcomes["zero_shot"].to_word.n == targeted
    assert english.outcomes["zero_shot"].to_word.rate == 1
    assert other.outcomes["zero_shot"].to_word.rate == 0  # it reads another class's name
    assert len(translations()) > 60


def test_every_factor_is_swept(image_set: ImageSet) -> None:
    from synesthete.audits.typographic.audit import styles

    for factor, values in styles(STYLE).items():
        for style in values.values():
            changed = [k for k, v in style.as_dict().items() if v != STYLE.as_dict()[k]]
            assert len(changed) <= (2 if factor == "colour" else 1)
    messages: list[str] = []
    sweep(make_subject(Blind(), make_image_set(30))[0], STYLE, progress=messages.append)
    assert len(messages) == sum(len(values) for values in styles(STYLE).values())


def test_targets_are_other_classes_that_are_known() -> None:
    truth = np.arange(200) % 5
    found = other_classes(truth, np.array([0, 1, 4]), np.random.default_rng(0))
    assert (found != truth).all()
    assert set(found.tolist()) == {0, 1, 4}


def test_too_few_images_and_one_class() -> None:
    few = make_image_set()
    with pytest.raises(
        SynestheteError, match="29 images can be used of made, and an audit needs 30"
    ):
        ImageSet(source="made", images=few.images[:29], truth=few.truth[:29], classes=NAMES)
    with pytest.raises(SynestheteError, match="has one class"):
        ImageSet(source="made", images=few.images, truth=np.zeros(36, np.int64), classes=["ox"])
