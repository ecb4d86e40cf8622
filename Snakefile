# The study as a graph: phantom data -> fits -> chapters -> book.
#   snakemake --cores 2 --config edition=phantom
# A job runs again when the hash in its `params` changes (notebook, parameters, modules, data), not when a
# file's time does: call with `--rerun-triggers params`.
import os
import sys
from pathlib import Path

from ortholib import entry

entry.settle()  # first: it may start this anew
from ortholib import locks, paths
from ortholib.data import datasets
from ortholib.phantom.write import key as phantom_key
from ortholib.report import book, chapter as chapters
from ortholib.study import plans, provenance

if workflow.is_main_process:
    claimed = locks.claim(Path(".snakemake"))
# the commands of this environment, also where it is not activated (`make` calls .venv/bin/snakemake)
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

CHAPTERS = plans.chapters()
EDITION = config.get("edition", "phantom")
EDITIONS = sorted({"phantom", EDITION})  # the book shows the phantom beside every other edition
# `runs`, or $ORTHOLIB_RUNS
RUNS = paths.runs().relative_to(paths.project()) if paths.runs().is_relative_to(paths.project()) else paths.runs()
ALONE = 2  # fits of a phantom chapter that are jobs of their own
PHANTOM = f"data/phantom/{phantom_key(0)}/PHANTOM.txt"


def data_key(chapter, edition):
    """What the chapter's sets hold on disk; the generated ones follow from their key."""
    if edition == "phantom":
        return phantom_key(0)
    return [datasets.fingerprint(name, edition) for name in plans.reads(chapter, chapters.parameters(chapter, edition))]


def planned(chapter, edition):
    return plans.fits(chapter, chapters.parameters(chapter, edition))


def fit_key(chapter, edition, number):
    asked = planned(chapter, edition)[int(number)]
    return [str(asked), provenance.package(), data_key(chapter, edition)]


def made_by(chapter, edition):
    return [chapters.trigger(chapter, edition), data_key(chapter, edition)]


def generated(edition):
    return PHANTOM if edition == "phantom" else []


def results_of(numbers, wildcards):
    return [f"{RUNS}/{wildcards.edition}/planned/{wildcards.chapter}-{n}.json" for n in numbers]


def fits_of(wildcards):
    """The fits of a chapter. Many small ones the chapter makes itself: starting a process takes longer than they do."""
    fits = planned(wildcards.chapter, wildcards.edition)
    return [] if wildcards.edition == "phantom" and len(fits) > ALONE else results_of(range(len(fits)), wildcards)


def fits_before(wildcards):
    """The fits that one starts from."""
    return results_of(plans.needs(planned(wildcards.chapter, wildcards.edition), int(wildcards.number)), wildcards)


rule all:
    input:
        "book/_build/html/index.html",


rule phantom:
    output:
        PHANTOM,
    shell:
        # the folder is made whole or not at all, so the empty one made for the output must go
        "rmdir $(dirname {output:q}) && python -c 'from ortholib import entry, phantom; entry.run(phantom.ensure)'"


rule fit:
    input:
        lambda wildcards: generated(wildcards.edition),
        fits_before,
    output:
        f"{RUNS}/{{edition}}/planned/{{chapter}}-{{number}}.json",
    params:
        key=lambda wildcards: fit_key(wildcards.chapter, wildcards.edition, wildcards.number),
    log:
        f"{RUNS}/{{edition}}/planned/{{chapter}}-{{number}}.log",
    threads: workflow.cores
    shell:
        "ortholib fit {wildcards.chapter}:{wildcards.number} --edition {wildcards.edition} --json"
        " > {output:q} 2> >(tee {log:q} >&2)"


rule chapter:
    input:
        lambda wildcards: generated(wildcards.edition),
        fits_of,
    output:
        f"{RUNS}/{{edition}}/{{chapter}}/run.json",
        f"{RUNS}/{{edition}}/{{chapter}}/notebook.ipynb",
    params:
        key=lambda wildcards: made_by(wildcards.chapter, wildcards.edition),
    wildcard_constraints:
        chapter="|".join(CHAPTERS),
    shell:
        "ortholib run {wildcards.chapter} --edition {wildcards.edition}"


rule book:
    input:
        expand(f"{RUNS}/{{edition}}/{{chapter}}/run.json", edition=EDITIONS, chapter=CHAPTERS),
    output:
        "book/_build/html/index.html",
    params:
        # with the chapters' keys: a study stopped between the last chapter and the book still renders it anew
        key=lambda wildcards: [book.source_key(), *(made_by(c, e) for e in EDITIONS for c in CHAPTERS)],
    shell:
        "python -m ortholib.report.book"
