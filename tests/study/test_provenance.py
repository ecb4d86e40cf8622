"""Provenance: what a record says about where it was made."""

import subprocess

from ortholib.study import provenance


def test_the_package_is_known_by_what_its_files_hold_and_are_called(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    (tmp_path / "a" / "b.py").write_text("x = 1\n")
    (tmp_path / "notes.txt").write_text("")
    found = [provenance.package()]
    (tmp_path / "notes.txt").write_text("other")
    assert provenance.package() == found[0]
    (tmp_path / "a" / "b.py").write_text("x = 2\n")
    found.append(provenance.package())
    (tmp_path / "a" / "b.py").rename(tmp_path / "c.py")
    found.append(provenance.package())
    assert len(set(found)) == 3


def test_record_of_a_checkout(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e@x", *words], cwd=tmp_path, check=True)

    monkeypatch.setenv("ORTHOLIB_HOME", str(tmp_path))
    monkeypatch.delenv("ORTHOLIB_COMMIT", raising=False)
    assert provenance.record()["commit"] is None and provenance.record()["dirty"] is None  # no checkout: not known
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "a.ipynb").write_text("{}")
    (tmp_path / "README.md").write_text("one")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    record = provenance.record()
    assert len(record["commit"]) == 40 and record["dirty"] is False
    assert record["code"] == provenance.package()
    assert {"python", "ortholib", "torch", "torchvision", "timm", "numpy", "pandas"} <= set(record["versions"])
    assert {"cpu", "cores", "memory_gib", "gpu", "device", "precision"} <= set(record["hardware"])
    (tmp_path / "README.md").write_text("two")
    assert provenance.record()["dirty"] is False  # makes no number
    (tmp_path / "notebooks" / "b.ipynb").write_text("{}")
    assert provenance.record()["dirty"] is True  # the commit does not hold it
    monkeypatch.setenv("ORTHOLIB_COMMIT", "abc123")
    assert provenance.record()["commit"] == "abc123"
