"""Cards of the published weights, and the table of which images were in whose pretraining."""

import pandas as pd

from ortholib.data.registry import CARDS
from ortholib.encoders import contamination, publishers, registry
from ortholib.encoders.preprocess import Preparation
from ortholib.errors import OrthoError
from ortholib.report import tables

OWN = "an own DINO pretraining"


def card(name: str, edition: str = "real") -> str:
    """The card of an entry of the registry, as Markdown: licence, source, preprocessing, embedding, pretraining data,
    and whether the study's sets were in them. Raises UsageError for an unknown name."""
    entry = registry.describe(name)
    data = contamination.PRETRAINED[entry.pretrained]
    rows = {
        "Weights": entry.published,
        "Network": f"`{entry.network}`" + ("" if entry.rotary else ", its rotary positions left out"),
        "Licence": entry.licence,
        "Access": "gated: its publisher wants to know who downloads it" if entry.gated else "open",
        "Source": entry.address,
        "File": _here(name, edition),
        "sha256": entry.sha256 or "not published; recorded when it is brought",
        "Preprocessing": _preparation(name, edition) if entry.dimension else "none: it makes no embeddings of images",
        "Embedding": f"{entry.embedding}; {entry.dimension:,} numbers" if entry.dimension else "none",
        "Pretrained on": data.words,
    }
    words = [f"### {entry.title}", "", tables.markdown(rows.items(), ("The weights", "")), ""]
    seen = contamination.seen(entry.pretrained)
    return "\n".join([*words, tables.markdown(seen.items(), ("Set", "In the pretraining")), "", f"Why: {data.why}."])


def contamination_table() -> pd.DataFrame:
    """One row an encoder and one for own pretrainings, a column a set: `seen`, `not seen` or `unknown`."""
    rows = []
    for name, entry in registry.ENCODERS.items():
        if entry.dimension:
            words = contamination.PRETRAINED[entry.pretrained].words
            rows.append({"encoder": name, "pretrained on": words} | contamination.seen(entry.pretrained))
    own = dict.fromkeys(contamination.SETS, f"{contamination.SEEN} where it was pretrained on it")
    return pd.DataFrame([*rows, {"encoder": OWN, "pretrained on": "the training part of a set of the study"} | own])


def contamination_page() -> str:
    """`contamination_table` as Markdown, and the reason for each row below it."""
    titles = {one.name: one.title.partition(":")[0] for one in CARDS}
    reasons = {facts.words: facts.why for facts in contamination.PRETRAINED.values()}
    table = contamination_table().rename(columns=titles)
    lines = [f"- {words}: {why}." for words, why in reasons.items() if words in set(table["pretrained on"])]
    return "\n".join([tables.markdown(table), "", *lines])


def _here(name: str, edition: str) -> str:
    try:
        return f"here: {registry.find(name, edition).name}"
    except OrthoError:
        return f"not here. {registry.way(name)}"


def _preparation(name: str, edition: str) -> str:
    """A publisher's preprocessing in words, from the files where they are here."""
    try:
        folder = registry.find(name, edition).parent
    except OrthoError:
        folder = None
    how: Preparation = publishers.preparation(registry.ENCODERS[name], folder)
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (how.mean, how.std))
    return (
        f"shorter side to {how.resize} pixels ({how.interpolation}), centre of {how.crop} x {how.crop}, grey as three "
        f"channels, less {mean}, divided by {std} (values from 0 to 1)"
    )
