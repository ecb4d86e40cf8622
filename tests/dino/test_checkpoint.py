"""Checkpoints: the newest whole one is used, a damaged one is passed over, and nothing unsafe is ever loaded."""

import pickle

import pytest
import torch

from ortholib.dino import checkpoint


def test_the_last_two_are_kept_and_the_newest_is_read(tmp_path):
    assert checkpoint.load(tmp_path) is None
    for step in (5, 10, 200):
        checkpoint.save(tmp_path, step, {"step": step, "w": torch.full((3,), float(step))})
    assert checkpoint.steps(tmp_path) == [10, 200]
    assert checkpoint.load(tmp_path)["w"].tolist() == [200.0] * 3
    assert len(list(tmp_path.iterdir())) == 4  # two checkpoints and their digests


@pytest.mark.parametrize("damage", ["cut", "flipped", "no digest"])
def test_a_damaged_one_is_passed_over_and_said(tmp_path, capsys, damage):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"step": step})
    file = tmp_path / "checkpoint-000000002.pt"
    data = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(data[:-10])
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        file.with_suffix(".sha256").unlink()
    assert checkpoint.load(tmp_path) == {"step": 1}
    assert "checkpoint-000000002.pt is damaged" in capsys.readouterr().out
    assert checkpoint.steps(tmp_path) == [1]


class Code:
    def __reduce__(self):
        return (print, ("run",))


def test_code_is_not_loaded(tmp_path):
    checkpoint.save(tmp_path, 1, {"step": Code()})
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.load(tmp_path)


def test_a_half_written_one_is_not_seen(tmp_path):
    checkpoint.save(tmp_path, 1, {"step": 1})
    (tmp_path / "checkpoint-000000002.partial").write_bytes(b"half")
    assert checkpoint.load(tmp_path) == {"step": 1}
