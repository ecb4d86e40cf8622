"""Published ids: hashes that keep groups together and tell nothing without the salt."""

import stat

import madeup
import numpy as np

from ortholib.data import ids


def test_same_name_same_hash_and_no_name_left():
    names = ["9001695", "9001695", "9001696"]
    hashed = ids.hashed(names, "kneekl")
    assert hashed[0] == hashed[1] != hashed[2] and (ids.hashed(names, "kneekl") == hashed).all()
    assert all(len(one) == 12 and int(one, 16) >= 0 for one in hashed) and not set(hashed) & set(names)
    assert ids.hashed([], "kneekl").shape == (0,)


def test_a_users_own_set_gets_a_private_salt(tmp_path, monkeypatch):
    home = madeup.project(tmp_path, monkeypatch)
    own = ids.hashed(["a", "b"], "my hospital")
    assert not np.isin(own, ids.hashed(["a", "b"], "mura")).any()
    assert (ids.hashed(["a", "b"], "another manifest") == own).all()
    assert stat.S_IMODE((home / "runs" / "salt").stat().st_mode) == 0o600
    (home / "runs" / "salt").write_text("another machine")
    assert not np.isin(own, ids.hashed(["a", "b"], "my hospital")).any()
