"""Every way in which a model can be missing, damaged or dangerous is reported in one line."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from synesthete._core.environment import ALLOW_PICKLE
from synesthete.errors import SynestheteError
from synesthete.models import load_model, sources
from synesthete.models.building import has_transformers, quiet
from synesthete.models.text import hushed

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


def message(spec: str | Path, **options: bool) -> str:
    with pytest.raises(SynestheteError) as caught:
        load_model(f"local-dir:{spec}" if isinstance(spec, Path) else spec, **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 900
    return text


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("minni", "did you mean 'mini'?"),
        ("minni", "`synesthete models list` names them all"),
        ("RN50x4/openia", "did you mean 'openai'?"),
        ("rn50/openai", "did you mean 'RN50/openai'"),
        ("RN50", "expected RN50/openai, RN50/yfcc15m, RN50/cc12m, RN50/random"),
        ("RN50/random:x", "the seed 'x' is not a number"),
        ("", "expected mini, ARCHITECTURE/TAG"),
        ("RN50/", "has no weights '' for RN50"),
        ("hf-hub:", "expected hf-hub:ORG/NAME"),
        ("hf-hub:just-a-name", "expected hf-hub:ORG/NAME"),
        ("local-dir:", "open_clip_config.json is missing"),
        ("local-dir:/no/such/folder", "there is no such folder"),
    ],
)
def test_names(spec: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in message(spec)


def test_a_folder_named_without_its_prefix(tmp_path: Path) -> None:
    assert f"a folder is local-dir:{tmp_path}" in message(str(tmp_path))


def test_mini_missing_from_the_installation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sources, "MINI", tmp_path)
    assert "mini is missing from this installation" in message("mini")


@pytest.mark.parametrize("spec", ["RN50/openai", "hf-hub:some-org/some-model"])
def test_offline(spec: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    text = message(spec)
    assert "could not be downloaded" in text
    assert "connect once" in text
    assert "local-dir:PATH" in text


def test_missing_and_damaged_configurations(folder: Path) -> None:
    config = folder / CONFIG
    good = json.loads(config.read_text())
    config.write_text('{"model_cfg": {"emb')
    assert "is damaged" in message(folder)
    config.write_text("[]")
    assert "has no model_cfg" in message(folder)
    config.write_bytes(b"\xff\xfe\x00")
    assert "is damaged" in message(folder)
    config.write_text(json.dumps({"model_cfg": {"embed_dim": 24}}))
    assert "lacks vision_cfg, text_cfg" in message(folder)
    broken = json.loads(json.dumps(good))
    broken["model_cfg"]["vision_cfg"]["no_such_setting"] = 1
    config.write_text(json.dumps(broken))
    assert "cannot be built" in message(folder)
    broken = json.loads(json.dumps(good))
    broken["model_cfg"]["vision_cfg"]["width"] = 32
    config.write_text(json.dumps(broken))
    assert "do not load" in message(folder)
    config.unlink()
    assert f"{CONFIG} is missing" in message(folder)


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, -1])
def test_truncated_weights(folder: Path, keep: float) -> None:
    data = (folder / WEIGHTS).read_bytes()
    length = int(len(data) * keep) if isinstance(keep, float) else keep
    (folder / WEIGHTS).write_bytes(data[:length])
    assert "do not load" in message(folder)


def test_weights_of_another_model(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["visual.conv1.weight"]
    save_file(weights, folder / WEIGHTS)
    assert "belongs to another model" in message(folder)


def test_no_weights(folder: Path) -> None:
    """open_clip would go on with random weights here."""
    (folder / WEIGHTS).unlink()
    assert "there are no weights" in message(folder)


def pickled(folder: Path, name: str) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / name)


def test_pickles_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW_PICKLE, raising=False)
    expected = load_model(f"local-dir:{folder}", device="cpu").weights_sha256
    pickled(folder, "open_clip_pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    text = message(folder)
    assert "as a pickle only" in text
    assert "SYNESTHETE_ALLOW_PICKLE=1" in text
    for no in ("", "0", "no"):
        monkeypatch.setenv(ALLOW_PICKLE, no)
        assert "as a pickle only" in message(folder)
    loaded = load_model(f"local-dir:{folder}", device="cpu", allow_pickle=True)
    assert loaded.weights_sha256 == expected
    monkeypatch.setenv(ALLOW_PICKLE, "1")
    assert load_model(f"local-dir:{folder}", device="cpu").weights_sha256 == expected
    assert "as a pickle only" in message(folder, allow_pickle=False)


def test_safetensors_win_over_a_pickle_beside_them(folder: Path) -> None:
    """open_clip prefers the pickle when the safetensors have another name."""
    (folder / WEIGHTS).rename(folder / "model.safetensors")
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert load_model(f"local-dir:{folder}", device="cpu").embedding_dim == 24


def test_a_pickle_that_runs_code_is_refused_even_when_pickles_are_allowed(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    assert "do not load" in message(folder, allow_pickle=True)
    assert not Path("ran").exists()


def test_hub_repository_without_safetensors(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import RemoteEntryNotFoundError

    def missing(repository: str, filename: str) -> str:
        raise RemoteEntryNotFoundError("404", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", missing)
    monkeypatch.delenv(ALLOW_PICKLE, raising=False)
    assert "as a pickle only" in message("ViTamin-S/datacomp1b")
    assert "has no file open_clip_config.json" in message("hf-hub:some-org/some-model")


def test_hub_cache_is_read_as_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, name: str(folder / name))
    found = load_model("hf-hub:some-org/some-model", device="cpu")
    plain = load_model(f"local-dir:{folder}", device="cpu")
    assert found.weights_sha256 == plain.weights_sha256
    assert found.name == "hf-hub:some-org/some-model"


def test_open_clip_stays_quiet(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    handlers, level = logging.root.handlers[:], logging.root.level
    load_model(f"local-dir:{folder}", device="cpu").random_twin()
    assert not caplog.records
    assert (logging.root.handlers, logging.root.level) == (handlers, level)


def test_other_threads_are_heard_while_a_model_is_built(caplog: pytest.LogCaptureFixture) -> None:
    handlers, level = logging.root.handlers[:], logging.root.level
    first, second = quiet(), quiet()
    with first:
        logging.getLogger("timm.models").warning("of a library")
        logging.warning("of open_clip")
        beside = threading.Thread(target=logging.getLogger("ours").error, args=("a job failed",))
        second.__enter__()
        beside.start()
        beside.join()
    second.__exit__(None, None, None)  # the one that began later ends later
    logging.getLogger("ours").error("afterwards")
    assert [record.message for record in caplog.records] == ["a job failed", "afterwards"]
    assert (logging.root.handlers, logging.root.level) == (handlers, level)
    assert not any(handler.filters for handler in handlers)


def test_they_are_heard_where_nobody_handles_what_is_logged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    with quiet(), quiet():
        logging.warning("of open_clip")
        beside = threading.Thread(target=logging.getLogger("ours").error, args=("a job failed",))
        beside.start()
        beside.join()
    assert capsys.readouterr().err == "a job failed\n"
    assert not logging.root.handlers


@pytest.mark.skipif(not has_transformers(), reason="needs transformers")
def test_transformers_is_heard_again_after_two_threads_loaded_models() -> None:
    from transformers.utils import logging as theirs

    heard: list[str] = []

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    logger, handler = theirs.get_logger("transformers.made"), Heard()
    logging.getLogger("transformers").addHandler(handler)
    level = theirs.get_verbosity()
    try:
        first, second = hushed(), hushed()
        with first:
            logger.warning("while a model is built")
            second.__enter__()
        second.__exit__(None, None, None)
        logger.warning("afterwards")
    finally:
        logging.getLogger("transformers").removeHandler(handler)
    assert heard == ["afterwards"]
    assert theirs.get_verbosity() == level
    assert theirs.is_progress_bar_enabled()
