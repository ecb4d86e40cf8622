"""Settings: checked where they are written down; recipes and keys of what is recorded."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from ortholib import settings
from ortholib.errors import UsageError
from ortholib.settings import Embed, Finetune, Pretrain

ROOT = Path(__file__).resolve().parents[1]
GOOD = {"kind": "finetune", "dataset": "kneekl", "task": "kl", "split": "official", "size": 64, "epochs": 2}
RECORDS = sorted(ROOT.glob("results/*/fits/*/run.json"))


def test_settings_take_defaults_and_whole_numbers():
    assert settings.parse(GOOD) == Finetune(64, 2, dataset="kneekl", task="kl", split="official")
    asked = settings.parse(GOOD | {"learning_rate": 1})  # 1 and 1.0 are one number, and so one key
    assert asked.learning_rate == 1.0 and type(asked.learning_rate) is float
    assert settings.identity(asked, {}, {}) == settings.identity(replace(asked, learning_rate=1.0), {}, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "finetun"}, ["'finetun'", "finetune"]),
        ({"kind": None}, ["'None'", "finetune"]),
        ({"epoch": 2}, ["'epoch'", "epochs"]),
        ({"epochs": "two"}, ["epochs", "'two'", "integer"]),
        ({"epochs": "18"}, ["epochs", "'18'", "integer"]),
        ({"epochs": True}, ["epochs", "True", "integer"]),
        ({"epochs": 2.0}, ["epochs", "2.0", "integer"]),
        ({"learning_rate": "fast"}, ["learning_rate", "'fast'", "number"]),
        ({"learning_rate": False}, ["learning_rate", "False", "number"]),
        ({"dataset": 3}, ["dataset", "3", "string"]),
        ({"initial": 3}, ["initial", "3", "string"]),
        ({"initial": {"kind": "pretrain", "sets": ["a:b"], "size": 64, "epoch": 18}}, ["pretrain", "'epoch'"]),
    ],
)
def test_settings_refused_by_name(change, words):
    with pytest.raises(UsageError) as error:
        settings.parse(GOOD | change)
    assert all(word in str(error.value) for word in words), error.value


def test_settings_missing():
    with pytest.raises(UsageError, match="a finetune fit needs size, epochs"):
        settings.parse({"kind": "finetune"})


def test_a_notebook_that_mistypes_is_told_by_name():
    for wrong in ({"epoch": 2}, {"epochs": "18"}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            Finetune(size=64, **{"epochs": 2} | wrong)


def test_settings_of_what_a_fit_starts_from():
    spec = GOOD | {"initial": {"kind": "pretrain", "sets": ["kneekl:official"], "size": 64, "epochs": 1}}
    assert settings.parse(spec).initial == Pretrain(("kneekl:official",), 64, 1)


def test_starts_are_named_as_the_ledger_names_them():
    unseen = Pretrain(("fracatlas:clean", "kneekl:official:0.5"), 64, 1)
    assert settings.named("resnet50") == "resnet50" and settings.named("a/b.safetensors") == "b"
    assert settings.named(unseen) == "random, then DINO on fracatlas and kneekl, training parts"
    assert settings.named(Pretrain(("mura:all",), 64, 1, initial="resnet50")) == "resnet50, then DINO on mura"
    assert settings.named(Finetune(64, 1, initial=unseen)) == settings.named(unseen)


def test_a_key_knows_nothing_of_defaults_operational_settings_names_and_versions():
    asked, data = Pretrain(("a:b",), 64, 1), {"pixels": "p", "version": "one"}

    def key(one, data=data, initial=None):
        return settings.key(settings.identity(one, data, initial or {"source": "random"}))

    same = [
        key(replace(asked, checkpoint_minutes=1.0)),
        key(replace(asked, seed=0)),
        key(asked, data | {"version": "two"}),
    ]
    assert set(same) == {key(asked)}
    weights = {"source": "a", "sha256": "1"}
    other = [key(replace(asked, seed=1)), key(asked, {"pixels": "q"}), key(asked, initial=weights)]
    other += [key(asked, initial={"source": "b", "fit": "1"}), key(asked)]
    assert len(set(other)) == len(other)
    assert key(asked, initial=weights | {"source": "b"}) == key(asked, initial=weights)


def _again(record: dict) -> str:
    """The key of a record, from what it says and the defaults that its recipe had."""
    shape = settings.KINDS[record["recipe"].split("/")[0]]
    defaults = {one.name: one.default for one in fields(shape)}  # of settings that came after the golden file
    defaults |= json.loads((ROOT / "tests/golden" / f"{record['recipe']}.json").read_text())["defaults"]
    given = {name: value for name, value in record["settings"].items() if name not in ("initial", *shape.operational)}
    start = {name: record["initial"][name] for name in ("sha256", "fit") if name in record["initial"]}
    if shape is Embed and "sha256" in start and isinstance(record["settings"]["initial"], str):
        start["encoder"] = record["settings"]["initial"]
    return settings.key(
        {
            "recipe": record["recipe"],
            "settings": {name: value for name, value in given.items() if value != defaults.get(name)},
            "data": {name: value for name, value in record["data"].items() if name != "version"},
            "initial": start or "random",
        }
    )


@pytest.mark.parametrize("file", RECORDS, ids=[file.parent.name for file in RECORDS])
def test_the_key_of_every_record_recomputes(file):
    record = json.loads(file.read_text())
    assert file.parent.name == record["key"] == _again(record)
    assert record["golden"] == settings.golden(record["recipe"]) is not None
    for fit in [record["initial"]["fit"]] if "fit" in record["initial"] else []:
        assert (file.parents[1] / fit / "run.json").is_file()


def test_every_kind_has_a_golden_file_and_records_are_of_known_recipes():
    current = {shape.recipe for shape in settings.KINDS.values()}
    assert all(settings.golden(recipe) for recipe in current)
    recorded = [json.loads(file.read_text())["recipe"] for file in RECORDS]
    assert set(recorded) - current == {"finetune/0"} and recorded.count("finetune/0") == 1
