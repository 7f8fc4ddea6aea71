"""Recording into an object store: killed, resumed elsewhere, delivered twice; read through a cache that is checked."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from synesthete._core.remote_files import RemoteFolder
from synesthete.atlas import open_atlas
from synesthete.atlas.mirror import cache_folder, mirror_at, people_folder
from synesthete.errors import SynestheteError
from synesthete.recording import Executor, record
from synesthete.recording.elsewhere import RemoteWork
from tests.recording import killed
from tests.recording.fakes import FakeModel, FakeProbes
from tests.recording.trees import tree
from tests.s3 import SECRET

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("moto", "obstore")),
    reason="needs an S3 server and its client: pip install 'moto[server]' obstore",
)
ROOT = Path(__file__).parents[2]
LAYERS = ["visual.layer4.1", "visual.layer4.1:pre"]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local") / "x.atlas"
    killed.run(out)
    return out


@pytest.fixture
def url(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    machine(monkeypatch, tmp_path, "one")
    return f"{bucket}/x.atlas"


def machine(monkeypatch: pytest.MonkeyPatch, root: Path, name: str) -> None:
    """Go on as another machine: nothing that was kept on this one's disk is there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / name / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(root / name / "data"))


def run(url: str, **more: Any) -> Path:
    probes = FakeProbes(killed.IMAGES, broken=killed.BROKEN)
    return record(FakeModel(), probes, LAYERS, url, shard_size=64, exemplars=4, **more)  # type: ignore[arg-type]


def stored(url: str, folder: Path) -> dict[str, str]:
    """Everything at a URL, by name and hash."""
    for name, file in RemoteFolder(url).names().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.read())
    return tree(folder)


def test_the_same_bytes_as_in_a_folder(
    tmp_path: Path, url: str, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    path = run(f"{url}/", progress=lambda done, total, *_: seen.append((done, total)))
    assert stored(url, tmp_path / "copy") == tree(local)
    assert tree(path) == tree(local)
    assert seen[-1] == (150, 150)
    assert {total for _, total in seen} == {150}
    assert open_atlas(url).verify() == []
    content = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(SECRET.encode() in data for data in content)
    model = FakeModel()
    record(model, FakeProbes(150, broken=killed.BROKEN), LAYERS, url, exemplars=4)  # type: ignore[arg-type]
    assert model.images_read == 0
    with pytest.raises(SynestheteError, match="another atlas: exemplars"):
        record(FakeModel(), FakeProbes(150), LAYERS, url, exemplars=5)  # type: ignore[arg-type]
    RemoteFolder(url).remove(["atlas.json"])
    with pytest.raises(SynestheteError, match="holds something else"):
        run(url)
    machine(monkeypatch, tmp_path, "two")
    with pytest.raises(SynestheteError, match="there is no atlas at s3"):
        open_atlas(url)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", ["commit", "add", "put", "remove"])
def test_killed_and_resumed_by_another_machine(
    tmp_path: Path, url: str, local: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Stopped before or after the n-th request of a kind, each time on a machine with an empty disk."""
    owner: Any = RemoteWork if step == "commit" else RemoteFolder
    method = getattr(owner, step)
    count, stop = 0, 0

    def stopped(self: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == stop:
            raise Killed
        found = method(self, *arguments, **more)
        if count == stop - 1:
            raise Killed
        return found

    monkeypatch.setattr(owner, step, stopped)
    kills = 0
    for stop in range(1, 40, 3):
        count = 0
        machine(monkeypatch, tmp_path, str(stop))
        try:
            run(url)
            break
        except Killed:
            kills += 1
    monkeypatch.setattr(owner, step, method)
    run(url)
    assert kills
    assert stored(url, tmp_path / "copy") == tree(local)


def test_another_process_killed_for_real(
    tmp_path: Path, url: str, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    code = (
        "import os, signal, tests.recording.test_object_store as t\n"
        "commit = t.RemoteWork.commit\n"
        "def deadly(self, number, shard):\n"
        "    commit(self, number, shard)\n"
        "    if number == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
        "t.RemoteWork.commit = deadly\n"
        f"t.run({url!r})"
    )
    environment = {**os.environ, "PYTHONPATH": paths}
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=False)
    assert process.returncode == -9
    assert set(RemoteWork(url).committed()) == {0, 1}
    machine(monkeypatch, tmp_path, "two")
    run(url)
    assert stored(url, tmp_path / "copy") == tree(local)


def test_a_shard_that_is_delivered_twice_counts_once(
    tmp_path: Path, url: str, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one machine records a shard, another one commits it."""
    commit = RemoteWork.commit
    outcomes: list[bool | None] = []

    def late(self: RemoteWork, number: int, shard: Path) -> bool:
        if number == 1 and None not in outcomes:
            outcomes.append(None)
            with monkeypatch.context() as other:
                machine(other, tmp_path, "two")
                assert commit(self, number, shard)
        own = commit(self, number, shard)
        outcomes.append(own)
        return own

    monkeypatch.setattr(RemoteWork, "commit", late)
    run(url)
    assert outcomes == [True, None, False, True]
    assert stored(url, tmp_path / "copy") == tree(local)


def test_tasks_of_an_array_job_on_machines_of_their_own(
    tmp_path: Path, url: str, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    for rank in ("1", "0", "1"):
        machine(monkeypatch, tmp_path, f"machine {rank}")
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        path = run(
            url, executor=Executor(kind="array"), progress=lambda done, *_: seen.append(done)
        )
        assert (path / "atlas.json").exists() == (len(seen) > 2 and seen[-1] == 150)
    assert seen == sorted(seen)
    assert stored(url, tmp_path / "copy") == tree(local)


def test_what_is_read_is_fetched_once_and_checked(
    tmp_path: Path, url: str, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = RemoteFolder(url)
    for name in tree(local):
        remote.put(name, (local / name).read_bytes())
    atlas = open_atlas(url)
    assert sorted(tree(atlas.path)) == ["atlas.json"]
    assert atlas.summary() == open_atlas(local).summary()
    assert (
        atlas.activations(LAYERS[0])[:64] == open_atlas(local).activations(LAYERS[0])[:64]
    ).sum() > 0
    name = "layers/visual.layer4.1/activations.npy"
    assert tree(atlas.path)[name] == tree(local)[name]
    assert open_atlas(atlas.path).path == atlas.path  # by the folder, as commands pass it on
    # Others on this machine: fetched once more, and no reason to call the atlas damaged.
    size = len((local / "probes.parquet").read_bytes())
    (atlas.path / "probes.parquet").write_bytes(b"x" * size)
    assert open_atlas(url).probes.equals(open_atlas(local).probes)
    (atlas.path / name).write_bytes(b"x" * len((local / name).read_bytes()))
    assert open_atlas(url).verify() == []
    assert not (atlas.path / name).exists()
    # Others than the manifest says: refused, and nothing of it is kept.
    whole = len((local / "embeddings.npy").read_bytes())
    for content in (b"x" * whole, b"x"):
        remote.put("embeddings.npy", content)
        with pytest.raises(SynestheteError, match=r"damaged atlas s3://.*embeddings\.npy"):
            open_atlas(url).embeddings()
        assert not (atlas.path / "embeddings.npy").exists()
    # A file that has changed there since it was fetched, and one that is gone.
    remote.put("probes.parquet", b"x" * size)
    remote.remove([name])
    embeddings, matrix, probes = sorted(open_atlas(url).verify())
    assert embeddings.startswith("embeddings.npy has 1 bytes")
    assert matrix == f"{name} is missing"
    assert probes.startswith("probes.parquet has other content")
    # A manifest that lists a name outside of the folder.
    manifest = json.loads((local / "atlas.json").read_text())
    manifest["files"]["../../../evil"] = {"bytes": 1, "sha256": "0" * 64}
    from synesthete.atlas.manifest import sealed

    remote.put("atlas.json", sealed(manifest))
    with pytest.raises(SynestheteError, match="leads out"):
        open_atlas(url)
    remote.put("atlas.json", b"{")
    with pytest.raises(SynestheteError, match="JSON"):
        open_atlas(url)


def test_the_cache_has_a_limit(
    tmp_path: Path, url: str, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in tree(local):
        RemoteFolder(url).put(name, (local / name).read_bytes())
    monkeypatch.setenv("SYNESTHETE_CACHE_GB", "0.00001")
    atlas = open_atlas(url)
    for name in atlas.manifest["files"]:
        atlas._contents.read(name)  # though few of them are kept at a time
    kept = {file.name for file in cache_folder().rglob("*") if file.is_file()}
    assert {"atlas.json", "url"} < kept
    assert len(kept) < len(tree(local))
    monkeypatch.setenv("SYNESTHETE_CACHE_GB", "many")
    with pytest.raises(SynestheteError, match="no number"):
        open_atlas(url).embeddings()


def test_a_folder_that_claims_to_be_of_a_url_is_not_believed(tmp_path: Path, local: Path) -> None:
    folder = tmp_path / "atlases" / "0123" / "x.atlas"
    folder.parent.mkdir(parents=True)
    folder.symlink_to(local)
    (folder.parent / "url").write_text('{"url": "https://evil.example/x.atlas"}')
    assert mirror_at(folder) is None


def test_without_a_home_folder_no_atlas_is_elsewhere(
    tmp_path: Path, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert mirror_at(local) is None
    assert open_atlas(local).verify() == []
    with pytest.raises(SynestheteError, match="no home folder"):
        open_atlas("s3://bucket/x.atlas")


def test_a_path_is_no_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (Path("s3://bucket/x.atlas"), "gs:/bucket/x.atlas"):
        with pytest.raises(SynestheteError, match="a Path cannot hold a URL"):
            run(path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_reviews_and_what_is_added(
    tmp_path: Path, url: str, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reviews stay on this machine, out of the cache; an analysis goes where the atlas is."""
    from synesthete.atlas.writing import add_files
    from synesthete.reviews.acts import Log, read

    path = run(url)
    Log(path).say(
        "note", f"{LAYERS[0]}:1", rater="Ann", value="hm", fingerprint="a" * 64, weights="b" * 64
    )
    assert people_folder(path).is_relative_to(tmp_path / "one" / "data" / "synesthete" / "reviews")
    assert (people_folder(path) / "reviews.sqlite").is_file()
    add_files(path, {"extra.bin": b"1"}, notes={"extra": {"n": 1}})
    machine(monkeypatch, tmp_path, "two")
    atlas = open_atlas(url)
    assert atlas.manifest["extra"] == {"n": 1}
    assert atlas._contents.read("extra.bin") == b"1"
    assert read(atlas.path) == []
    add_files(atlas.path, {"extra.bin": b"2"})
    machine(monkeypatch, tmp_path, "one")
    with pytest.raises(SynestheteError, match="changed by somebody else"):
        add_files(path, {"extra.bin": b"3"})
    atlas = open_atlas(url)
    assert atlas._contents.read("extra.bin") == b"2"
    assert "writing" not in atlas.manifest
    assert [act.value for act in read(path)] == ["hm"]


def test_two_analyses_at_once_damage_nothing(
    tmp_path: Path, url: str, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both start from the same manifest, which lists none of the new tables."""
    from synesthete.atlas.writing import add_files

    one = run(url)
    machine(monkeypatch, tmp_path, "two")
    two = open_atlas(url).path
    add_files(two, {"extra.bin": b"2"})
    machine(monkeypatch, tmp_path, "one")
    with pytest.raises(SynestheteError, match="changed by somebody else"):
        add_files(one, {"extra.bin": b"1"})
    assert RemoteFolder(url).names()["extra.bin"].read() == b"2"
    # The other one begins while this one writes: this one's next file stays as it is.
    put = RemoteFolder.put

    def late(self: RemoteFolder, name: str, data: Any, **more: Any) -> bool:
        found = put(self, name, data, **more)
        if name == "a.bin":
            monkeypatch.setattr(RemoteFolder, "put", put)
            with monkeypatch.context() as other:
                machine(other, tmp_path, "two")
                add_files(open_atlas(url).path, {"b.bin": b"two"})
        return found

    open_atlas(url)
    monkeypatch.setattr(RemoteFolder, "put", late)
    with pytest.raises(SynestheteError, match="changed by somebody else"):
        add_files(one, {"a.bin": b"one", "b.bin": b"one"})
    machine(monkeypatch, tmp_path, "three")
    assert open_atlas(url)._contents.read("b.bin") == b"two"
    assert open_atlas(url).verify() == []


def test_a_slower_machine_leaves_the_published_atlas_alone(
    tmp_path: Path, url: str, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synesthete.atlas.writing import add_files

    add_files(run(url), {"extra.bin": b"1"})
    before = stored(url, tmp_path / "before")
    monkeypatch.setattr(RemoteFolder, "put", lambda *_, **__: pytest.fail("it writes"))
    RemoteWork(url).publish(local)
    RemoteWork(url).clear()
    assert stored(url, tmp_path / "after") == before


@pytest.mark.parametrize("seen", [True, False])
def test_another_machine_completes_the_atlas_while_the_shards_are_read(
    tmp_path: Path, url: str, local: Path, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    """The shards go after they were listed, or right before."""

    def never(self: RemoteWork, out: Path) -> None:
        raise Killed

    with monkeypatch.context() as zero:
        machine(zero, tmp_path, "zero")
        zero.setattr(RemoteWork, "publish", never)
        with pytest.raises(Killed):
            run(url)
    committed, calls = RemoteWork.committed, 0

    def late(self: RemoteWork) -> Any:
        nonlocal calls
        calls += 1
        found = committed(self)
        if calls == 2:
            with monkeypatch.context() as other:
                machine(other, tmp_path, "two")
                run(url)
            return found if seen else committed(self)
        return found

    monkeypatch.setattr(RemoteWork, "committed", late)
    assert tree(open_atlas(run(url)).path).keys() >= {"atlas.json"}
    assert calls > 2
    assert stored(url, tmp_path / "copy") == tree(local)
