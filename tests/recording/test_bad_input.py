"""Bad input and a full disk: one clear line, nothing lost, nothing of others touched."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from synesthete.atlas import open_atlas
from synesthete.errors import SynestheteError
from synesthete.recording import record
from tests.recording.fakes import FakeModel, FakeProbes
from tests.recording.trees import tree


def test_a_complete_atlas_is_used_as_it_is(tmp_path: Path) -> None:
    out = record(FakeModel(), FakeProbes(70), None, tmp_path / "x.atlas")
    before, model = tree(out), FakeModel()
    (out / ".recording").mkdir()  # left by a kill right after the manifest's rename
    assert record(model, FakeProbes(70), None, out) == out
    assert model.images_read == 0
    assert tree(out) == before
    assert not (out / ".recording").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": FakeModel(seed=2)}, "model.weights_sha256 is "),
        ({"probes": FakeProbes(70, salt=1)}, "probes.fingerprint is "),
        ({"probes": FakeProbes(71)}, "probes.images is 71 instead of 70"),
        ({"layers": ["visual.layer4.1:pre"]}, "layers is "),
        ({"reduction": "mean"}, "reduction is 'mean' instead of 'max'"),
        ({"exemplars": 3}, "exemplars.ends is 3 instead of 16"),
        ({"dense": False, "sample": 0}, "dense is False instead of True"),
        ({"twins": ["random_twin", "random_he"]}, "twins.permuted is None instead of {'seed': 0}"),
        ({"seed": 5}, "twins.random_twin.seed is 5 instead of 0"),
    ],
)
def test_another_atlas_is_never_overwritten(
    tmp_path_factory: pytest.TempPathFactory, change: dict[str, Any], message: str
) -> None:
    out = Path(tmp_path_factory.getbasetemp()) / "shared.atlas"
    record(FakeModel(), FakeProbes(70), None, out)
    before = tree(out)
    arguments = {"model": FakeModel(), "probes": FakeProbes(70), "layers": None, **change}
    with pytest.raises(SynestheteError, match="holds another atlas") as error:
        record(out=out, **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert tree(out) == before


def test_an_unfinished_recording_of_something_else(tmp_path: Path) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "x.atlas"
    with pytest.raises(KeyboardInterrupt):
        record(FakeModel(), FakeProbes(70), None, out, progress=stop)
    with pytest.raises(SynestheteError, match="unfinished recording that is another: reduction"):
        record(FakeModel(), FakeProbes(70), None, out, reduction="mean")


def test_a_folder_or_file_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SynestheteError, match=r"holds something else \(thesis\.tex\)"):
        record(FakeModel(), FakeProbes(8), None, tmp_path)
    with pytest.raises(SynestheteError, match="is a file"):
        record(FakeModel(), FakeProbes(8), None, tmp_path / "thesis.tex")
    (tmp_path / "atlas.json").write_text('{"format": "geography"}')
    with pytest.raises(SynestheteError, match="is no atlas"):
        record(FakeModel(), FakeProbes(8), None, tmp_path)
    with pytest.raises(SynestheteError, match="cannot write"):
        record(FakeModel(), FakeProbes(8), None, tmp_path / "thesis.tex" / "x.atlas")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_no_image_can_be_read(tmp_path: Path) -> None:
    probes = FakeProbes(70, broken=dict.fromkeys(range(70), "no image file"))
    with pytest.raises(SynestheteError, match=r"none of the 70 images .* no image file"):
        record(FakeModel(), probes, None, tmp_path / "x.atlas")
    assert not (tmp_path / "x.atlas").exists()


def test_whatever_a_decoder_raises_is_a_reason(tmp_path: Path) -> None:
    class Wild(FakeProbes):
        def image(self, index: int) -> Any:
            if index == 1:
                raise SyntaxError("broken PNG")
            if index == 2:
                raise ZeroDivisionError
            return super().image(index)

    atlas = open_atlas(record(FakeModel(), Wild(64), None, tmp_path / "x.atlas"))
    assert atlas.probes["reason"].to_pylist()[:4] == ["", "broken PNG", "ZeroDivisionError", ""]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": ["visual.layer9"]}, "no layer 'visual.layer9'; there are"),
        ({"layers": ["visual.layer4.1"] * 2}, "named twice"),
        ({"reduction": "maxx"}, "did you mean 'max'"),
        ({"exemplars": 0}, "expected at least 1"),
        ({"batch_size": 0}, "expected at least 1"),
        ({"shard_size": 0}, "expected at least 1"),
    ],
)
def test_arguments_out_of_range(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SynestheteError, match=message):
        record(FakeModel(), FakeProbes(8), **{"layers": None, **arguments}, out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("failing", ["shard-00001", "embeddings.npy", "atlas.json", "thumbnails"])
def test_a_full_disk_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    out = tmp_path / "x.atlas"
    sync = os.fsync

    def full(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        inside = path.relative_to(out.parent).as_posix()
        if failing in inside and (".recording" in inside) == failing.startswith("shard"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SynestheteError, match=r"disk full while writing .*finished work") as e:
            record(FakeModel(), FakeProbes(130), None, out, shard_size=64)
    assert "\n" not in str(e.value)
    assert not list(out.rglob(".*.tmp"))
    model = FakeModel()
    record(model, FakeProbes(130), None, out)
    assert model.images_read == (96 if failing == "shard-00001" else 0)
    assert tree(out) == tree(record(FakeModel(), FakeProbes(130), None, tmp_path / "y.atlas"))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=256k tmpfs {disk} 2>/dev/null") != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        with pytest.raises(SynestheteError, match="disk full"):
            record(FakeModel(), FakeProbes(400), None, disk / "x.atlas", shard_size=64)
        assert (disk / "x.atlas" / ".recording" / "shard-00000").is_dir()
        os.system(f"mount -o remount,size=64m {disk}")
        out = record(FakeModel(), FakeProbes(400), None, disk / "x.atlas")
        fresh = record(FakeModel(), FakeProbes(400), None, tmp_path / "y.atlas")
        assert tree(out) == tree(fresh)
    finally:
        os.system(f"umount {disk}")
