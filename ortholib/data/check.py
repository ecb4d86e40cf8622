"""Check of a set: the numbers that tell at a glance whether it is the one that was published, and whole."""

from ortholib.data.table import ImageSet


def run(image_set: ImageSet, label: str | None) -> dict:
    """Counts of a set that was read: images, classes of a label, official parts, boxes, groups, and what is wrong.

    label_conflicts: groups of copies whose images carry different values of the label; where `group` is a patient or
    an exam it is 0, for both knees of a patient may differ. implausible: readable images that show next to nothing of
    their stored values; `ImageSet.doubts` says what, and by which window.
    """
    images = image_set.images
    bad = images[~images["readable"]]
    counts = {
        "name": image_set.name,
        "version": image_set.version,
        "root": str(image_set.root),
        "images": len(images),
        "readable": int(images["readable"].sum()),
        "unreadable": len(bad),
        "implausible": len(image_set.doubts),
        "label": label,
    }
    conflicts = 0
    if label is not None:
        values = image_set.label(label)
        if set(values.dropna().unique()) <= {0, 1}:
            counts |= {"positives": int(values.sum()), "negatives": int((values == 0).sum())}
        else:
            counts["per_class"] = {f"{k:g}": int(n) for k, n in values.value_counts().sort_index().items()}
        if image_set.grouped_by == "copies":
            per_group = images.assign(y=images["image_id"].map(values)).groupby("group")["y"].nunique()
            conflicts = int((per_group > 1).sum())
    parts = images["official_part"].replace("", "none").value_counts()
    return counts | {
        "official_parts": {part: int(n) for part, n in parts.items()},
        "boxes": len(image_set.boxes),
        "groups": int(images["group"].nunique()),
        "grouped_by": image_set.grouped_by,
        "label_conflicts": conflicts,
        "reasons": {reason: int(n) for reason, n in bad["reason"].value_counts().items()},
        "notes": image_set.notes,
    }
