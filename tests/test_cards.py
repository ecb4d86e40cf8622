"""Data cards: every set has one; numbers stand only where the set is there, and are those of check and audit."""

import pytest

from ortholib import cards, check, datasets
from ortholib.phantom import write


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    out = tmp_path_factory.mktemp("cards") / "phantom"
    write(out, 0, {"FracAtlas": 60, "kneeKL224": 20, "MRNet-v1.0": 12, "OAI": 8})
    return out


@pytest.fixture(autouse=True)
def here(phantom, tmp_path, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_DATA", str(phantom))
    monkeypatch.setenv("ORTHOLIB_RUNS", str(tmp_path / "runs"))


@pytest.mark.parametrize("name", sorted(datasets.SETS))
def test_every_set_says_what_it_is(name):
    card, facts = cards.card(name), datasets.describe(name)
    for piece in (facts.title, facts.licence, facts.citation, facts.where, facts.get, facts.layout, *facts.defects):
        assert piece in card
    rows = [line for line in card.split("\n") if line.startswith("|")]
    assert all(line.count("|") == 3 for line in rows), "a bar in a text would cut its cell"
    assert "<" not in card
    present = name in ("fracatlas", "kneekl", "mrnet", "oai")
    assert ("Found on disk" in card) == present == ("Not on this machine" not in card)


@pytest.mark.parametrize("name", ["fracatlas", "kneekl", "mrnet", "oai"])
def test_numbers_are_those_of_the_check(name):
    image_set = datasets.load(name)
    counts = check.run(image_set, datasets.main_label(image_set))
    card = cards.card(name)
    assert f"| Images | {counts['images']:,}, of which {counts['readable']:,} readable |" in card
    assert f"| Groups | {counts['groups']:,}, by " in card and "phantom, generated images" in card
    assert f"| Boxes | {counts['boxes']:,} |" in card


def test_label_conflicts_are_asked_of_copies_only():
    knees, films = datasets.load("kneekl"), datasets.load("fracatlas")
    assert check.run(knees, "kl")["label_conflicts"] == 0 and check.run(films, "fractured")["label_conflicts"] == 1
    assert check.run(films, None)["label"] is None
