"""Records end to end: fitted, kept, asked; reasons that add up; people's corrections; nothing of a patient anywhere."""

from __future__ import annotations

import io
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from synesthete._core.row_reader import Rows
from synesthete.analysis.decomposition.explain import contributions
from synesthete.catalog.classify import Classifier, fit, make_record, read_records, records
from synesthete.catalog.classify.classifier import vocabulary, words_of
from synesthete.catalog.classify.records import embed, fuse, image_direction
from synesthete.errors import SynestheteError
from synesthete.models.image_text_model import ImageTextModel
from synesthete.probes.decoding import decode
from synesthete.reviews.cases import Policy, Queue
from tests.catalog.classify.conftest import RECORDS, SECRETS

SLOW_TO_READ = "the vocabulary holds what five groups share"


def test_reading_sets_bad_rows_aside_without_quoting_them(table: Path) -> None:
    found = read_records(table, template="health")
    assert len(found.records) == RECORDS
    assert found.aside == {
        RECORDS + 1: "the image is missing",
        RECORDS + 2: "neither an image nor a text",
        RECORDS + 3: "the image lies outside of the table's folder",
    }
    assert found.ignored == ("birth_date", "email", "mrn", "patient_name")
    assert found.records[0].group not in ("", "p0"), "groups are hashed"
    assert found.records[0].group == found.records[1].group
    assert repr(found.records[0]) == "<Record of row 1>"


def test_damage_behind_a_bad_row_is_not_hidden(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(path: Path) -> Rows:
        yield 2, SynestheteError("a quote is wrong")
        yield 3, {"text": "a brown mole", "label": "round"}
        raise SynestheteError(f"cannot read '{path.name}': Input/output error")

    monkeypatch.setattr(records, "rows_and_errors", damaged)
    with pytest.raises(SynestheteError, match="Input/output error"):
        read_records(table)


def test_it_learns_and_says_how_well(classifier: Classifier) -> None:
    seen = classifier.facts["measured"]
    assert seen["accuracy"]["low"] > seen["majority"]
    assert seen["coverage"]["n"] == classifier.facts["records"]["test"] > 20
    card = (classifier.path / "MODEL_CARD.md").read_text()
    assert "Research use, not a medical device." in card
    assert "control: shuffled labels" in card
    assert "sets that hold the right label (promised 90.0 %)" in card


def test_opened_again_it_judges_the_same(classifier: Classifier, table: Path) -> None:
    records = read_records(table, template="health").records[:6]
    again = Classifier(classifier.path)
    assert again.judge(records) == classifier.judge(records)
    assert {one.notice for one in again.judge(records)} == {"Research use, not a medical device."}


def test_reasons_of_units_add_up_to_the_logits(
    classifier: Classifier, table: Path, model: ImageTextModel
) -> None:
    """All units, positions and biases, with the text and the intercept, are the difference of the logits."""
    record = read_records(table, template="health").records[3]
    embedded = embed(model, [record])
    probe = classifier.linear_probe
    weights = (probe.weights[0] - probe.weights[1]).astype(np.float32)
    logits = probe.logits(fuse(embedded.images, embedded.texts))[0]
    assert record.image is not None
    pixels = model.preprocess(decode(record.image))[None]
    attributed = contributions(
        model, model.default_layers[0], pixels, image_direction(weights, embedded.texts[0])
    )
    dim = model.embedding_dim
    text = float(weights[dim : 2 * dim] @ embedded.texts[0])
    total = (
        float(attributed.units[0].sum() + attributed.rest[0])
        + text
        + float(probe.intercept[0] - probe.intercept[1])
    )
    assert total == pytest.approx(float(logits[0] - logits[1]), abs=1e-3)
    (judged,) = classifier.judge([record])
    first = judged.reasons[0]
    sign = 1 if judged.label == probe.labels[0] else -1
    unit = int(first.address.rpartition(":")[2])
    assert first.weight == pytest.approx(
        sign * float(attributed.units[0][unit]) * probe.sharpness, rel=1e-3, abs=1e-5
    )


def test_only_tested_names_of_units_are_given(classifier: Classifier, table: Path) -> None:
    record = read_records(table, template="health").records[3]
    addresses = [one.address for one in classifier.judge([record])[0].reasons if one.address]
    assert len(addresses) > 1
    # An atlas calls a unit what it is selective for before that is tested.
    neurons = dict.fromkeys(addresses, SimpleNamespace(name=None, concept="tyrannosaurus"))
    neurons[addresses[1]] = SimpleNamespace(name="plum", concept="plum")
    atlas: Any = SimpleNamespace(analysed=True, neuron=neurons.__getitem__)
    (judged,) = classifier.judge([record], atlas=atlas)
    named = {one.address: (one.text, one.tested) for one in judged.reasons if one.kind == "unit"}
    assert named == {one: (one, False) for one in addresses} | {addresses[1]: ("plum", True)}


def test_words_are_reasons_only_when_many_share_them(classifier: Classifier, table: Path) -> None:
    records = read_records(table, template="health").records
    found = {
        one.text
        for judged in classifier.judge(records[:12])
        for one in judged.reasons
        if one.kind == "words"
    }
    assert found
    assert found <= {"round", "spot", "smooth", "square", "patch", "edged"}
    assert "zebulon" not in vocabulary(records)
    assert words_of("MRN-778899 seen") == ["mrn", "seen"]
    twice = [replace(one, group="same") for one in records]
    assert vocabulary(twice) == [], SLOW_TO_READ


def test_what_it_is_not_sure_of_goes_to_people_and_comes_back(
    classifier: Classifier, table: Path, model: ImageTextModel, tmp_path: Path
) -> None:
    records = read_records(table, template="health")
    queue = Queue(tmp_path)
    judged = classifier.judge(records.records, queue=queue, policy=Policy(0.999), reasons=False)
    undecided = [one for one in judged if not one.decided]
    assert undecided
    assert all(one.ticket and one.why for one in undecided)
    assert {case.ticket for case in queue.cases()} == {one.ticket for one in undecided}
    queue.decide(str(undecided[0].ticket), "override", actor="dr", label="square")
    again = fit(
        records,
        tmp_path / "again.classifier",
        model,
        corrections=queue.labels("classify"),
        risk=0.2,
    )
    assert again.facts["records"]["corrected"] == 1
    assert "medical" not in (tmp_path / "again.classifier" / "MODEL_CARD.md").read_text()


def test_audits_are_decided_and_seen(classifier: Classifier, table: Path, tmp_path: Path) -> None:
    sure = Classifier(classifier.path)
    sure.linear_probe = replace(sure.linear_probe, threshold=0.0, quantiles=1.0)
    judged = sure.judge(
        read_records(table, template="health").records[:20],
        queue=Queue(tmp_path),
        policy=Policy(0.0, audit=1.0),
        reasons=False,
    )
    assert all(one.decided and one.ticket for one in judged)
    assert {case.reason for case in Queue(tmp_path).cases()} == {"audit of an answer"}


def test_strange_records_are_not_decided(classifier: Classifier) -> None:
    (broken,) = classifier.judge([make_record(b"no image", "")])
    assert (broken.decided, broken.labels, broken.why) == (False, {}, "nothing could be read")
    (text,) = classifier.judge([make_record(None, "a round spot, smooth")])
    assert text.reasons
    assert all(one.kind == "words" for one in text.reasons)
    odd = Classifier(classifier.path)
    odd.linear_probe = replace(odd.linear_probe, quantiles=-1.0)
    (unlike,) = odd.judge([make_record(None, "a round spot")], reasons=False)
    assert unlike.why == "unlike any record that it knows"


def test_nothing_of_a_patient_gets_anywhere(
    table: Path,
    model: ImageTextModel,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Files, logs, output, reasons, queue and errors, after fitting and judging records full of names."""
    with caplog.at_level(logging.DEBUG):
        records = read_records(table, template="health")
        fitted = fit(records, tmp_path / "made.classifier", model, template="health", risk=0.2)
        queue = Queue(tmp_path)
        judged = fitted.judge(records.records, queue=queue, policy=Policy(1.0))
        results = json.dumps([one.as_dict() for one in judged]) + repr(records) + repr(fitted.facts)
        results += json.dumps([case.as_dict() for case in queue.cases()]) + repr(queue.trail.read())
    output = capfd.readouterr()
    everything = results + caplog.text + output.out + output.err
    everything += "".join(
        path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()
    )
    assert len(everything) > 10_000
    for secret in SECRETS:
        assert secret.casefold() not in everything.casefold()
    assert "p17" not in results


@pytest.mark.parametrize("line", ['{"text": "Zebulon", "label": }', "Zebulon", '["Zebulon"]'])
def test_errors_do_not_quote_a_record(tmp_path: Path, line: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(line)
    with pytest.raises(SynestheteError) as caught:
        read_records(path, template="health")
    assert "Zebulon" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"name,diagnosis\na,b\n", "neither a column image nor a column text"),
        ("x.csv", b"text,label\n\xff\xfe,b\n", "not UTF-8"),
        ("x.csv", b"text,label\n", "no record"),
        ("x.parquet", b"PAR1 no", "cannot be read as Parquet"),
        ("x.xlsx", b"", "is not a table"),
        ("x.jsonl", b'{"text": "a", "label": "' + b"x" * 200 + b'"}', "at most 100"),
    ],
)
def test_wrong_tables(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SynestheteError, match=message):
        read_records(tmp_path / name)


def test_a_wrong_calibration(table: Path, model: ImageTextModel, tmp_path: Path) -> None:
    with pytest.raises(SynestheteError, match="no such calibration: 'magic'"):
        fit(read_records(table), tmp_path / "made", model, calibration="magic")  # type: ignore[arg-type]


def test_wrong_folders(
    classifier: Classifier, table: Path, model: ImageTextModel, tmp_path: Path
) -> None:
    with pytest.raises(SynestheteError, match="holds no classifier"):
        Classifier(tmp_path)
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(SynestheteError, match="is no classifier"):
        fit(read_records(table), tmp_path, model)
    copy = Path(shutil.copytree(classifier.path, tmp_path / "copy"))
    facts: dict[str, Any] = json.loads((copy / "classifier.json").read_text())
    (copy / facts["weights"]).write_bytes(b"")
    with pytest.raises(SynestheteError, match="damaged"):
        Classifier(copy)
    shutil.copy(classifier.path / facts["weights"], copy)
    facts["model"]["weights_sha256"] = "0" * 64
    (copy / "classifier.json").write_text(json.dumps(facts))
    with pytest.raises(SynestheteError, match="other weights"):
        _ = Classifier(copy).model
    facts["version"] = 99
    (copy / "classifier.json").write_text(json.dumps(facts))
    with pytest.raises(SynestheteError, match="newer format"):
        Classifier(copy)


def test_a_request_hears_of_an_image_above_its_limit(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged by the text alone without a word, it would be taken for an answer about the image."""
    from synesthete.probes import request_images

    monkeypatch.setattr(request_images, "MAX_PIXELS", 100)
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(stream, "PNG")
    record = make_record(stream.getvalue(), "a round spot")
    assert classifier.judge([record])[0].label
    with request_images.request_limits(), pytest.raises(request_images.RequestImageTooLarge):
        classifier.judge([record])
