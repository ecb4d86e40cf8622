"""What the published weights were pretrained on, and whether images of the study's sets were among it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ortholib.data.registry import CARDS

SEEN, NOT_SEEN, UNKNOWN = "seen", "not seen", "unknown"
SETS = tuple(card.name for card in CARDS)


class Pretraining(NamedTuple):
    """words: the images. default: `seen`, `not seen` or `unknown` for a set of the study. why: the reason for it.
    sets: the sets for which it is another."""

    words: str
    default: str
    why: str
    sets: Mapping[str, str] = MappingProxyType({})


LVD = "images of the web of which no list is public"
PHOTOGRAPHS = "closed, published lists of photographs of 2009 to 2012, when no set of the study was on the open web"

PRETRAINED = {
    "imagenet": Pretraining(
        "ImageNet-1k: 1.28 million photographs with labels", NOT_SEEN, PHOTOGRAPHS,
    ),
    "imagenet-unlabelled": Pretraining(
        "ImageNet-1k: 1.28 million photographs, labels not used", NOT_SEEN, PHOTOGRAPHS,
    ),
    "imagenet21k": Pretraining(
        "ImageNet-21k, then ImageNet-1k: 14 million photographs with labels", NOT_SEEN, PHOTOGRAPHS,
    ),
    "lvd142m": Pretraining("LVD-142M: 142 million images of the web, chosen by likeness to curated sets", UNKNOWN, LVD),
    "lvd1689m": Pretraining("LVD-1689M: 1.7 billion images chosen from public posts", UNKNOWN, LVD),
    "chest": Pretraining(
        "838,000 chest radiographs without labels, begun from DINOv2's weights (LVD-142M)", UNKNOWN,
        f"no orthopaedic set is named among its chest sets, but the weights it began from were trained on {LVD}",
    ),
    "pmc15m": Pretraining(
        "PMC-15M: 15 million figures of articles in PubMed Central with their captions", UNKNOWN,
        "the figures include musculoskeletal ones, and which images they show is not listed",
    ),
    "knees": Pretraining(
        "1,251,655 knee images (357,670 radiographs: OAI 52,052 and 305,618 private; 893,985 MRI slices: OAI 168,576, "
        "fastMRI 325,409, private 400,000), begun from DINOv3's weights (LVD-1689M)", UNKNOWN,
        "52,052 OAI radiographs and 168,576 OAI MRI slices were in it; kneekl is cut from OAI radiographs, and which "
        f"ones were used is not published; the weights it began from were trained on {LVD}",
        {"oai": SEEN},
    ),
    "coco": Pretraining(
        "COCO: 118,000 photographs with boxes", NOT_SEEN, "a closed, published list of photographs of 2014 to 2017",
    ),
    "text": Pretraining("none: only the shape of a text network is used", NOT_SEEN, "no image is in it"),
}  # fmt: skip


def seen(pretrained: str) -> dict[str, str]:
    """Of each set of the study: `seen`, `not seen` or `unknown` by the weights of a pretraining in `PRETRAINED`."""
    facts = PRETRAINED[pretrained]
    return {name: facts.sets.get(name, facts.default) for name in SETS}
