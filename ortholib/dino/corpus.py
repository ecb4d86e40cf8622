"""Reading the sets of a pretraining. Apart from what trains on them, whose code is in the key of a fit: the images
themselves are there by their hashes."""

import hashlib

import numpy as np

from ortholib.data import datasets, split, tasks
from ortholib.data.table import image_values
from ortholib.dino.images import Images
from ortholib.errors import OrthoError
from ortholib.settings import Pretrain


def prepare(settings: Pretrain, edition: str) -> Images:
    """Read, split and pack the sets. Evaluation parts stay out unless a set is asked for as `name:all`.

    Raises OrthoError where a set has no training part.
    """
    stores, weights, columns, seen, hashes = [], [], [], {}, []
    for number, (name, how, weight) in enumerate(settings.parts()):
        image_set = datasets.load(name, edition)
        store = tasks.pack(image_set, settings.size)
        label = datasets.main_label(image_set)
        if how == "all":
            ids = image_set.usable["image_id"].to_numpy(str)
        else:
            parts = split.make(image_set, how, label).images
            ids = parts.loc[parts["part"] == "train", "image_id"].to_numpy(str)
        ids = ids[~np.isin(ids, list(store.failed))]
        if not len(ids):
            raise OrthoError(f"{image_set.root}: no readable image in the training part of {name}:{how}.")
        row = store.rows(ids)
        group = image_set.images.set_index("image_id")["group"]
        y = image_values(image_set, label).reindex(ids) if label else np.full(len(ids), np.nan)
        columns.append((np.full(len(ids), number), row, store.valid[row], y, group.loc[ids].to_numpy(str)))
        stores.append(store.pixels)
        weights.append(weight)
        seen[name] = {"split": how, "version": image_set.version, "images": len(ids), "weight": weight}
        hashes.append([store.hash, hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]])
    joined = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return Images(stores, weights, *joined, seen, {"stores": hashes, "sets": list(settings.sets)})
