"""Chapters: what their parameters refuse, what their key depends on, and what an execution leaves on disk."""

import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import madeup
import nbformat
import pandas as pd
import pytest

from ortholib import phantom
from ortholib.errors import OrthoError, UsageError
from ortholib.report import chapter
from ortholib.study import plans, provenance

NAME = "chapter"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(plans, "chapters", lambda: [NAME])
    return madeup.project(tmp_path, monkeypatch)


def write(home: Path, *sources: str, **options) -> Path:
    return madeup.notebook(home, *sources, chapter=NAME, **options)


def yaml(home: Path, text: str) -> None:
    (home / "params" / "phantom" / f"{NAME}.yaml").write_text(text)


def test_parameters_come_from_notebook_then_file_then_command_line(home):
    write(home)
    yaml(home, "edition: phantom\nepochs: 5\nrate: 1\n")
    values = chapter.parameters(NAME, "phantom", {"epochs": 7, "mirror": True})
    assert values == {"edition": "phantom", "epochs": 7, "rate": 1.0, "mirror": True, "backbone": "resnet10t"}
    assert type(values["rate"]) is float
    assert chapter.parameters(NAME, "real") == values | {"edition": "real", "epochs": 3, "rate": 1e-3, "mirror": False}
    yaml(home, "rate: 5e-4\n")  # text in YAML 1.1
    assert chapter.parameters(NAME, "phantom")["rate"] == 5e-4


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("epoch: 5", {}, ["phantom/chapter.yaml", "'epoch'", "epochs"]),
        ("", {"epoch": 5}, ["--set", "'epoch'", "epochs"]),
        ("epochs: many", {}, ["phantom/chapter.yaml", "epochs", "'many'", "integer"]),
        ("", {"epochs": "many"}, ["--set", "epochs", "'many'", "integer"]),
        ("", {"epochs": True}, ["epochs", "True", "integer"]),
        ("", {"epochs": 3.0}, ["epochs", "3.0", "integer"]),
        ("", {"mirror": 1}, ["mirror", "1", "boolean"]),
        ("", {"rate": True}, ["rate", "True", "number"]),
        ("", {"rate": "fast"}, ["rate", "'fast'", "number"]),
        ("", {"backbone": 18}, ["backbone", "18", "str"]),
        ("", {"backbone": None}, ["backbone", "None", "str"]),
        ("", {"edition": "real"}, ["--set", "edition", "'real'", "'phantom'"]),
        ("edition: paper", {}, ["phantom/chapter.yaml", "'paper'", "'phantom'"]),
        ("epochs: [", {}, ["phantom/chapter.yaml", "YAML"]),
        ("- epochs", {}, ["phantom/chapter.yaml", "list", "name: value"]),
    ],
)
def test_parameters_refused_by_name(home, text, overrides, words):
    write(home)
    yaml(home, text)
    with pytest.raises(UsageError) as error:
        chapter.parameters(NAME, "phantom", overrides)
    assert all(word in str(error.value) for word in words), error.value


def test_unknown_chapter_edition_or_file(home):
    with pytest.raises(UsageError, match=r"chapter\.yaml is missing: .* no phantom edition"):
        chapter.parameters(NAME, "phantom")
    write(home)
    with pytest.raises(UsageError, match="'reel' is unknown; expected one of phantom, real, paper"):
        chapter.parameters(NAME, "reel")
    (home / "params" / "phantom" / "chaptr.yaml").write_text("")
    with pytest.raises(UsageError, match="'chaptr' is no chapter; known: chapter"):
        chapter.execute("chaptr", "phantom")
    with pytest.raises(UsageError, match="'reel' is unknown"):
        chapter.start(NAME, "reel")


def test_trigger_follows_what_a_chapter_could_be_made_by(home, monkeypatch):
    monkeypatch.setattr(provenance, "package", lambda: "one")
    published = home / "params" / "published.yaml"
    published.write_text("- value: 1\n")
    write(home, "1 + 1")
    first = chapter.trigger(NAME, "phantom")
    yaml(home, "# a comment\nepochs: 3\n")
    assert chapter.trigger(NAME, "phantom") == first
    keys = {first}
    yaml(home, "epochs: 5\n")
    keys.add(chapter.trigger(NAME, "phantom"))
    yaml(home, "")
    published.write_text("- value: 2\n")
    keys.add(chapter.trigger(NAME, "phantom"))
    monkeypatch.setattr(provenance, "package", lambda: "two")
    keys.add(chapter.trigger(NAME, "phantom"))
    write(home, "1 + 2")
    keys.add(chapter.trigger(NAME, "phantom"))
    assert len(keys) == 5


def test_executed_whole_then_replaced(home, monkeypatch, capsys):
    write(
        home,
        'from ortholib.report import chapter\nimport pandas as pd\nrun = chapter.start("chapter", edition)',
        'run.save(metrics=pd.DataFrame({"value": [rate]}))\nrun.note(data=["blobs: v1"])\nrun.note(fits=["abc"])',
        'print("epoch", epochs)',
    )
    monkeypatch.setenv("ORTHOLIB_RUN", "of somebody else")
    folder = chapter.execute(NAME, "phantom", {"epochs": 7})
    assert folder == home / "runs" / "phantom" / NAME
    assert sorted(p.name for p in folder.iterdir()) == ["metrics.parquet", "notebook.ipynb", "run.json", "run.log"]
    assert pd.read_parquet(folder / "metrics.parquet")["value"].tolist() == [1e-3]
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "done" and record["notebook"] == NAME and record["edition"] == "phantom"
    assert record["parameters"]["epochs"] == 7
    assert record["data"] == ["blobs: v1"] and record["fits"] == ["abc"]
    assert record["wall_seconds"] > 0 and record["peak_memory_gib"] > 0 and record["started"].endswith("Z")
    assert {"commit", "dirty"} <= set(record) and {"python", "torch"} <= set(record["versions"])
    assert record["hardware"]["cores"] == os.cpu_count()
    assert "epoch 7" in (folder / "run.log").read_text() and "epoch 7" in capsys.readouterr().err
    assert os.environ["ORTHOLIB_RUN"] == "of somebody else" and os.environ["ORTHOLIB_HOME"] == str(home)
    assert not logging.getLogger("papermill").handlers

    (folder / "stale.parquet").write_text("")
    write(home, "import os\nopen(os.environ['ORTHOLIB_RUN'] + '/fresh', 'w').close()")
    chapter.execute(NAME, "phantom")
    assert sorted(p.name for p in folder.iterdir()) == ["fresh", "notebook.ipynb", "run.json", "run.log"]
    assert sorted(p.name for p in folder.parent.iterdir()) == [NAME, f"{NAME}.lock"]


def test_failed_notebook_is_kept_and_the_old_run_stands(home):
    old = home / "runs" / "phantom" / NAME
    old.mkdir(parents=True)
    (old / "run.json").write_text("{}")
    write(home, "reached = 1", 'raise ValueError("no knee in row 7.")', "never = 1")
    with pytest.raises(OrthoError) as error:
        chapter.execute(NAME, "phantom")
    failed = old.with_name(f"{NAME}.failed")
    assert f"{NAME}.ipynb, cell 'c1': ValueError: no knee in row 7. The" in str(error.value)
    assert str(failed / "notebook.ipynb") in str(error.value) and error.value.exit_code == 1
    assert json.loads((failed / "run.json").read_text())["status"] == "failed"
    counts = {cell["id"]: cell.get("execution_count") for cell in nbformat.read(failed / "notebook.ipynb", 4).cells}
    assert counts["c0"] and counts["c1"] and not counts["c2"]
    assert (old / "run.json").read_text() == "{}" and not old.with_name(f"{NAME}.partial").exists()


@pytest.mark.parametrize("death", ["os._exit(137)", "os.kill(os.getpid(), 9)"])
def test_dead_kernel_says_probably_memory(home, death):
    write(home, f"import os\n{death}")
    with pytest.raises(OrthoError, match="the kernel died, probably memory"):
        chapter.execute(NAME, "phantom")
    assert json.loads((home / "runs" / "phantom" / f"{NAME}.failed" / "run.json").read_text())["status"] == "failed"


def test_what_papermill_cannot_start_is_a_failed_run(home, monkeypatch):
    import papermill

    def refuse(*_, **__):
        raise OSError("disk full")

    write(home)
    monkeypatch.setattr(papermill, "execute_notebook", refuse)
    with pytest.raises(OrthoError, match=r"chapter\.ipynb: OSError: disk full\."):
        chapter.execute(NAME, "phantom")
    assert (home / "runs" / "phantom" / f"{NAME}.failed" / "run.json").is_file()


def test_the_kernel_is_this_python_and_a_users_own_files_are_no_part_of_it(home, monkeypatch):
    decoy = home / "jupyter" / "kernels" / "python3"
    decoy.mkdir(parents=True)
    (decoy / "kernel.json").write_text(json.dumps({"argv": ["false"], "display_name": "Mine", "language": "python"}))
    startup = home / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    for file in (startup / "mine.py", home / "startup.py"):
        file.write_text("mine = True")
    monkeypatch.setenv("JUPYTER_PATH", str(home / "jupyter"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(home / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.setenv("IPYTHONDIR", str(home / "ipython"))
    monkeypatch.setenv("PYTHONSTARTUP", str(home / "startup.py"))
    (home / "matplotlibrc").write_text("font.size: 3")
    monkeypatch.setenv("MPLCONFIGDIR", str(home))
    write(
        home,
        f"import sys\nassert sys.executable == {sys.executable!r}\nassert 'mine' not in globals()",
        "import matplotlib\nassert matplotlib.rcParams['font.size'] == 10",
    )
    assert chapter.execute(NAME, "phantom").is_dir()
    assert os.environ["IPYTHONDIR"] == str(home / "ipython")


def test_interruption_ends_the_kernel_and_leaves_nothing_that_poses_as_whole(home):
    write(home, "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(120)")
    pid = home / "notebooks" / "pid"

    def interrupt():
        while not (pid.is_file() and pid.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        chapter.execute(NAME, "phantom")
    assert not (home / "runs" / "phantom" / NAME).exists()
    assert not (home / "runs" / "phantom" / f"{NAME}.partial" / "run.json").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "ORTHOLIB_RUN" not in os.environ


def test_opened_by_hand_a_chapter_writes_to_lab(home, monkeypatch):
    assert chapter.start(NAME, "real").folder == home / "runs" / "lab" / NAME
    monkeypatch.setenv("ORTHOLIB_RUN", str(home / "batch"))
    assert chapter.start(NAME, "real").folder == home / "batch"


def test_chapters_of_the_edition_phantom_see_to_its_data(home, monkeypatch):
    asked = []
    monkeypatch.setattr(phantom, "ensure", lambda: asked.append("made"))
    imports = "from ortholib import paths\nfrom ortholib.report import chapter"
    write(home, imports, 'chapter.start("chapter", edition)\nroot = paths.data_root(edition)')
    chapter.start(NAME, "real")
    assert not asked
    chapter.execute(NAME, "phantom")  # the kernel inherits where they are
    assert asked == ["made"]
    chapter.start(NAME, "phantom")  # opened by hand
    assert asked == ["made", "made"]


def test_parameter_table_has_this_runs_values_and_the_help(home, monkeypatch):
    write(home)
    kernel = SimpleNamespace(user_ns={"edition": "real", "epochs": 9, "rate": 1e-3, "mirror": False, "backbone": "b"})
    monkeypatch.setattr(chapter, "get_ipython", lambda: kernel)
    table = chapter.parameter_table(NAME)
    assert "| `epochs` | `9` | at most |" in table and "| `rate` | `0.001` | of the optimizer |" in table
