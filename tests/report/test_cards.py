"""Data cards: every set has one; numbers stand only where the set is there, and are those of check and audit."""

import pytest

from ortholib.data import check, datasets
from ortholib.report import cards


@pytest.fixture(autouse=True)
def here(phantom, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_DATA", str(phantom))


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
