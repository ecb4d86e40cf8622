"""Once: the keys of the recorded fits become those of recipes (`ortholib.settings`). `python migrate.py`.

Every record but one names as `code` the hash that the trainers of commit b2dd60e have, so their recipe is today's,
number 1. The one of an earlier version becomes `finetune/0`. Nothing is computed; predictions get the columns backbone,
initial and head for the text `arm`, and a chapter's `run.json` names its fits by their keys.
"""

import json
from pathlib import Path

import pandas as pd

from ortholib import settings
from ortholib.fits import Fit, _digest
from ortholib.settings import KINDS

CODE = {
    "finetune": "a1c94f86a27fe283",
    "pretrain": "191d4c87d9f4fe86",
    "probe": "a5e0daf26502ebf5",
    "transfer": "06c4dc4373ab0b86",
}
MADE_BY = ("code", "commit", "dirty", "versions", "hardware")
root = Path("results/real")
records = {file.parent.name: json.loads(file.read_text()) for file in root.glob("fits/*/run.json")}
pretrainings = {}  # sha256 of the weights -> settings
asked, new = {}, {}  # by the key of before



def _listed(value):
    return list(value) if isinstance(value, tuple) else value


# pretrainings are what the others start from, and trainings what transfers do
for kind in ("pretrain", "finetune", "probe", "transfer"):
    for old, record in sorted(records.items()):
        if record["kind"] != kind:
            continue
        number = int(record["code"] == CODE[kind])
        assert number or old == "91d9328a7dc06693", old
        given, initial = dict(record["settings"]), record["initial"]
        if kind == "transfer":
            given = {name: given[name] for name in ("dataset", "task", "split")}
            given["initial"] = asked[initial["fit"]]
            initial = {"source": settings.named(given["initial"]), "fit": new[initial["fit"]]}
        elif initial["sha256"]:
            given["initial"] = pretrainings[initial["sha256"]]
            initial = {"source": settings.named(given["initial"]), "sha256": initial["sha256"]}
        else:
            assert initial["source"] == given["initial"] == "random", old
            initial = {"source": "random"}
        one = asked[old] = KINDS[kind](**given)
        told = settings.asdict(one)
        for name, value in record["settings"].items():
            assert name in ("initial", "size", "backbone", "seed") or _listed(told[name]) == value, (old, name)
        found = settings.identity(one, record["data"], initial) | {"recipe": f"{kind}/{number}"}
        key = new[old] = settings.key(found)
        if kind == "pretrain":
            weights = Path("results/weights") / old
            weights.rename(weights.with_name(key))
            pretrainings[_digest(Fit(key, root / "none", {}).backbone)] = one
        history = {"key": old, "code": record["code"], "why": "keys are made of recipes, no longer of source texts"}
        head = {"key": key, "edition": record["edition"], "recipe": f"{kind}/{number}"}
        head |= {"golden": settings.golden(f"{kind}/{number}"), "settings": told, "data": record["data"]}
        head |= {"initial": initial, "made_by": {name: record[name] for name in MADE_BY}}
        rest = {name: record[name] for name in record if name not in (*head, *MADE_BY, "kind")}
        written = head | rest | {"history": [history]}
        folder = (root / "fits" / old).rename(root / "fits" / key)
        (folder / "run.json").write_text(json.dumps(written, indent=1))
        file = folder / "predictions.parquet"
        if file.is_file():
            frame = pd.read_parquet(file)
            place = list(frame).index("arm")
            frame = frame.drop(columns="arm")
            if "head" not in frame:
                frame.insert(place, "head", "")
            else:
                frame.insert(place, "head", frame.pop("head"))
            frame.insert(place, "initial", settings.named(one.initial))
            frame.insert(place, "backbone", one.backbone)
            frame.to_parquet(file)

for file in root.glob("*/run.json"):
    record = json.loads(file.read_text())
    if "fits" in record:
        record["fits"] = [new[fit["key"]] for fit in record["fits"]]
        file.write_text(json.dumps(record, indent=1))
text = Path("RECORDS.md").read_text()
for old, key in new.items():
    text = text.replace(f"fit {old[:8]}", f"fit {key[:8]}")
Path("RECORDS.md").write_text(text)
print("\n".join(f"{old} -> {key} {asked[old].recipe}" for old, key in new.items()))
