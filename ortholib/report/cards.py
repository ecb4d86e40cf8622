"""Data cards: what a set is, how to get it, what is known to be wrong with it, and what was found on disk."""

from ortholib.data import audit, check, datasets
from ortholib.data.datasets import ImageSet, SetCard
from ortholib.errors import OrthoError
from ortholib.report import sentences, tables


def card(name: str, edition: str = "real") -> str:
    """The card of a registered set. Where the set is not here, it says how to get it instead of numbers."""
    facts = datasets.describe(name)
    try:
        image_set = datasets.load(name, edition)
    except OrthoError:
        return "\n".join([_about(facts), "", "*Not on this machine, so nothing was counted.*"])
    return "\n".join([_about(facts), "", *_found(image_set)])


def _about(facts: SetCard) -> str:
    rows = {
        "Licence": facts.licence + ("; registration needed" if facts.registration else ""),
        "Citation": facts.citation,
        "Where": facts.where,
        "How to get it": facts.get,
        "Layout": f"`{facts.folders[0]}/`: {facts.layout}",
    }
    lines = [f"### {facts.title}", "", tables.markdown(rows.items(), ("The release", ""))]
    return "\n".join([*lines, "", "Known to be wrong with it:", "", *(f"- {defect}" for defect in facts.defects)])


def _found(image_set: ImageSet) -> list[str]:
    """What check and audit counted, as a table and bullets."""
    label = datasets.main_label(image_set)
    counts = check.run(image_set, label)
    audited = audit.run(image_set, label).counts
    classes = counts.get("per_class") or {"1": counts.get("positives"), "0": counts.get("negatives")}
    unit = {"copies": "image or group of copies"}.get(image_set.grouped_by, image_set.grouped_by)
    rows = {
        "Release": counts["version"],
        "Images": f"{counts['images']:,}, of which {counts['readable']:,} readable",
        "Groups": f"{counts['groups']:,}, by {unit}",
        f"Label {label}": ", ".join(f"{value}: {n:,}" for value, n in classes.items()),
        "Official parts": ", ".join(f"{part}: {n:,}" for part, n in counts["official_parts"].items()),
        "Boxes": f"{counts['boxes']:,}",
    }
    lines = [tables.markdown(rows.items(), ("Found on disk", "")), "", sentences.audit(audited)]
    if image_set.grouped_by != "copies":  # the lines above say how many copies cross
        lines.append(f"- {sentences.crossing(audited['crossing_groups'], counts['groups'], unit)}")
    return lines
