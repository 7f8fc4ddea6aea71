"""The mean of trained towers: the numbers it has to be, what a run needs of it, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from training.averaging import average  # noqa: E402


def _checkpoint(path: Path, value: float, **other: Any) -> Path:
    norm = torch.nn.BatchNorm1d(2)
    norm.weight.data.fill_(value)
    norm.running_mean.fill_(10 * value)
    norm.num_batches_tracked.fill_(int(value))
    saved = {
        "visual": norm.state_dict(),
        "log_scale": torch.tensor(2 * value),
        "readers": {"votes": [torch.full((3,), value), torch.tensor(value)]},
        "optimiser": {"of": path.name},
        "size": 128,
        "seen": int(value),
        **other,
    }
    torch.save(saved, path)
    return path


def test_it_is_the_mean_of_the_weights_and_the_last_one_otherwise(tmp_path: Path) -> None:
    parts = [_checkpoint(tmp_path / f"{value}.pt", value) for value in (1.0, 2.0, 6.0)]
    average(parts, tmp_path / "mean.pt")
    mean = torch.load(tmp_path / "mean.pt")
    assert mean["visual"]["weight"].tolist() == pytest.approx([3, 3])
    assert mean["visual"]["running_mean"].tolist() == pytest.approx([30, 30])
    assert int(mean["visual"]["num_batches_tracked"]) == 6
    assert float(mean["log_scale"]) == pytest.approx(6)
    assert mean["readers"]["votes"][0].tolist() == [6, 6, 6]
    assert (mean["optimiser"], mean["size"], mean["seen"]) == ({"of": "6.0.pt"}, 128, 6)
    assert mean["averaged"] == 3
    for part, value in zip(parts, (1.0, 2.0, 6.0), strict=True):
        assert torch.load(part)["visual"]["weight"].tolist() == [value, value], "left as it was"


def test_shares_need_no_sum(tmp_path: Path) -> None:
    parts = [_checkpoint(tmp_path / f"{value}.pt", value) for value in (1.0, 5.0)]
    average(parts, tmp_path / "mean.pt", [6, 2])
    assert torch.load(tmp_path / "mean.pt")["visual"]["weight"].tolist() == pytest.approx([2, 2])
    average(parts[:1], tmp_path / "mean.pt")
    assert torch.load(tmp_path / "mean.pt")["visual"]["weight"].tolist() == [1, 1]


@pytest.mark.parametrize("shares", [[1.0], [1.0, 0.0], [1.0, -2.0], [1.0, 1.0, 1.0]])
def test_shares_that_mean_nothing_are_refused(tmp_path: Path, shares: list[float]) -> None:
    parts = [_checkpoint(tmp_path / f"{value}.pt", value) for value in (1.0, 5.0)]
    with pytest.raises(ValueError, match="as many shares, all above 0"):
        average(parts, tmp_path / "mean.pt", shares)
    assert not (tmp_path / "mean.pt").exists()


@pytest.mark.parametrize(
    "other",
    [
        {"visual": torch.nn.BatchNorm1d(3).state_dict()},
        {"visual": torch.nn.Linear(2, 2).state_dict()},
    ],
)
def test_towers_of_another_kind_are_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    parts = [_checkpoint(tmp_path / "a.pt", 1.0), _checkpoint(tmp_path / "b.pt", 2.0, **other)]
    with pytest.raises(ValueError, match=r"b\.pt is of another architecture or image size"):
        average(parts, tmp_path / "mean.pt")


def test_the_command_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.__main__ import main

    one = str(_checkpoint(tmp_path / "a.pt", 1.0))
    command = ["training", "average", one, one, "--out", str(tmp_path / "mean.pt")]
    for shares, message in (("1", "2 checkpoints need as many"), ("1,x", "'x'")):
        monkeypatch.setattr("sys.argv", [*command, "--shares", shares])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", command)
    main()
    assert torch.load(tmp_path / "mean.pt")["visual"]["weight"].tolist() == [1, 1]
