"""Cards of the published weights: every one says what it is, and what was seen in its pretraining."""

import pytest

from ortholib.encoders import contamination, registry
from ortholib.phantom import weights
from ortholib.report import encodercards


@pytest.mark.parametrize("name", registry.ENCODERS)
def test_every_encoder_has_a_card(name):
    card, entry = encodercards.card(name), registry.ENCODERS[name]
    data = contamination.PRETRAINED[entry.pretrained]
    for piece in (entry.title, entry.published, entry.licence, entry.address, entry.embedding, data.words, data.why):
        assert piece in card
    for name, word in contamination.seen(entry.pretrained).items():
        assert f"| {name} | {word} |" in " ".join(card.split())
    rows = [line for line in card.split("\n") if line.startswith("|")]
    assert all(line.count("|") == 3 for line in rows), "a bar in a text would cut its cell"


def test_preprocessing_is_told_from_the_files_that_are_here(tmp_path, monkeypatch):
    weights.write_weights(tmp_path / "p" / "weights")
    monkeypatch.setenv("ORTHOLIB_PHANTOM", str(tmp_path / "p"))
    absent, here = (encodercards.card("biomedclip", edition) for edition in ("real", "phantom"))
    assert "centre of 224 x 224" in absent and "not here. Download BiomedCLIP" in absent
    assert "centre of 160 x 160" in here and "here: open_clip_pytorch_model.bin" in here


def test_the_contamination_table_has_every_image_encoder_and_every_set():
    table = encodercards.contamination_table().set_index("encoder")
    assert list(table.index) == [n for n, one in registry.ENCODERS.items() if one.dimension] + [encodercards.OWN]
    assert table.loc["orthofoundation", "oai"] == "seen" and table.loc["resnet18", "kneekl"] == "not seen"
    assert list(table.columns[1:]) == list(contamination.SETS)
    page = encodercards.contamination_page()
    assert all(name in page for name in table.index) and "52,052 OAI radiographs" in page
