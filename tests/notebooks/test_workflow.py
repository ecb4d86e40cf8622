"""The study as a graph: which jobs there are, and which of them a change makes run again."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ortholib.phantom.write import key
from ortholib.report import chapter
from ortholib.study import plans

ROOT = Path(__file__).resolve().parents[2]


def snakemake(home: Path, *words: str) -> str:
    tool = Path(sys.executable).with_name("snakemake")
    command = [tool, "--cores", "2", "--rerun-triggers", "params", *words, "--config", "edition=phantom"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORTHOLIB_")}
    environment |= {"ORTHOLIB_RUNS": "größere runs/a", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def jobs(log: str) -> dict:
    """Rule -> number of jobs, from the first table `Job stats`."""
    if "Job stats:" not in log:
        return {}
    rows = log.split("Job stats:")[1].split("\n\n")[0].splitlines()
    found = dict(re.findall(r"^(\w+) +(\d+)$", "\n".join(rows), flags=re.MULTILINE))
    return {name: int(n) for name, n in found.items() if name not in ("all", "total")}


def test_graph_and_what_a_changed_parameter_makes_again(tmp_path, monkeypatch):
    """In an 8-bit locale, the runs in a folder with a relative name, a space and an umlaut."""
    monkeypatch.setenv("ORTHOLIB_HOME", str(tmp_path))
    made = "größere runs/a/phantom"
    shutil.copy(ROOT / "Snakefile", tmp_path)
    for name in ("notebooks", "params"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "book").mkdir()
    planned = {name: plans.fits(name, chapter.parameters(name, "phantom")) for name in plans.chapters()}

    outputs = [f"data/phantom/{key(0)}/PHANTOM.txt", "book/_build/html/index.html"]
    for name, asked in planned.items():
        outputs += [f"{made}/{name}/{file}" for file in ("run.json", "notebook.ipynb")]
        outputs += [f"{made}/planned/{name}-{n}.json" for n in range(len(asked)) if len(asked) <= 2]
    for output in outputs:
        (tmp_path / output).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / output).write_text("{}")
    graph = snakemake(tmp_path, "--touch", "--forceall")  # as if every job had been run
    n_fits = sum(len(asked) for asked in planned.values() if len(asked) <= 2)  # more the chapter makes itself
    assert jobs(graph) == {"phantom": 1, "fit": n_fits, "chapter": len(planned), "book": 1}

    changed = tmp_path / "params" / "phantom" / "30-knee-oa.yaml"
    changed.write_text("edition: phantom\ntraining: {epochs: 2}\n")
    again = snakemake(tmp_path, "--dry-run", "--printshellcmds")
    assert jobs(again) == {"fit": len(planned["30-knee-oa"]), "chapter": 1, "book": 1}
    assert "runs/a/phantom/00-data/run.json" not in again.split("Job stats:")[0]
    assert f"> '{made}/planned/30-knee-oa-0.json' 2>" in again
