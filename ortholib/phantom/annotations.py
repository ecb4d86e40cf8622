"""The annotation files of FracAtlas, in the published formats: CSV, COCO, Pascal VOC, VGG and YOLO."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from ortholib.phantom.files import yolo_line

COLUMNS = [
    *("image_id", "hand", "leg", "hip", "shoulder", "mixed", "hardware", "multiscan", "fractured", "fracture_count"),
    *("frontal", "lateral", "oblique"),
]
SPLIT = Path("Utilities") / "Fracture Split"
COCO = Path("Annotations") / "COCO JSON" / "COCO_fracture_masks.json"
VGG = Path("Annotations") / "VGG JSON" / "VGG_fracture_masks.json"
VOC = Path("Annotations") / "PASCAL VOC"
YOLO = Path("Annotations") / "YOLO"

def corners(polygon: np.ndarray) -> tuple[float, float, float, float]:
    """Bounding box (x0, y0, x1, y1) of a polygon (n, 2)."""
    return (*polygon.min(axis=0).tolist(), *polygon.max(axis=0).tolist())


def area(polygon: np.ndarray) -> float:
    """Area of a polygon (n, 2), shoelace formula."""
    x, y = polygon.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def write_annotations(root: Path, films: pd.DataFrame, polygons: dict[str, list[np.ndarray]]) -> None:
    """Write every table and annotation file of the FracAtlas layout below `root`.

    `films`: one row a file with the columns of `COLUMNS` and `width, height` (EXIF-transposed frame), `depth`, `bytes`,
    `official_part` ("train", "valid", "test" or ""). `polygons`: `image_id` -> fracture outlines (n, 2) in pixels of
    the transposed frame, empty or absent for films without a fracture.
    """
    films = films.sort_values("image_id")
    films[COLUMNS].to_csv(root / "dataset.csv", index=False, lineterminator="\r\n")
    for folder in (SPLIT, COCO.parent, VGG.parent, VOC, YOLO):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for part in ("train", "valid", "test"):
        films.loc[films.official_part == part, ["image_id"]].to_csv(root / SPLIT / f"{part}.csv", index=False)

    coco = {"info": {"description": "phantom: generated images, no patients"}, "images": [], "annotations": []}
    vgg = {}
    (root / YOLO / "labels.txt").write_text("fractured\n")
    for film in films.itertuples():
        outlines = polygons.get(film.image_id, [])
        _write_boxes(root, film, outlines)
        if not outlines:
            continue
        number = len(coco["images"]) + 1
        size = {"width": int(film.width), "height": int(film.height)}
        coco["images"].append({"id": number, **size, "file_name": film.image_id})
        for outline in outlines:
            x0, y0, x1, y1 = corners(outline)
            coco["annotations"].append({
                "id": len(coco["annotations"]), "iscrowd": 0, "image_id": number, "category_id": 0,
                "segmentation": [outline.ravel().tolist()], "bbox": [x0, y0, x1 - x0, y1 - y0], "area": area(outline),
            })  # fmt: skip
        vgg[film.image_id] = _vgg(film, outlines)
    coco["categories"] = [{"id": 0, "name": "fractured"}]
    (root / COCO).write_text(json.dumps(coco))
    (root / VGG).write_text(json.dumps(vgg))


def _write_boxes(root: Path, film, outlines: list[np.ndarray]) -> None:
    stem = Path(film.image_id).stem
    boxes = [corners(outline) for outline in outlines]
    lines = [yolo_line(0, box, film.width, film.height, ".4f") for box in boxes]
    (root / YOLO / f"{stem}.txt").write_text("".join(lines))
    voc = _element("annotation", {
        "folder": "PASCAL VOC", "filename": film.image_id, "source": {"database": "PHANTOM"},
        "size": {name: getattr(film, name) for name in ("width", "height", "depth")}, "segmented": 0,
    })  # fmt: skip
    for box in boxes:
        bounds = dict(zip(("xmin", "ymin", "xmax", "ymax"), map(int, box), strict=True))
        facts = {"name": "fractured", "pose": "Unspecified", "truncated": 0, "difficult": 0, "bndbox": bounds}
        voc.append(_element("object", facts))
    ElementTree.indent(voc)
    (root / VOC / f"{stem}.xml").write_text(ElementTree.tostring(voc, "unicode") + "\n")


def _element(tag: str, content) -> ElementTree.Element:
    """An XML element of a text, a number, or a mapping of the elements in it."""
    element = ElementTree.Element(tag)
    if isinstance(content, dict):
        element.extend(_element(*one) for one in content.items())
    else:
        element.text = str(content)
    return element


def _vgg(film, outlines: list[np.ndarray]) -> dict:
    regions = {}
    for number, outline in enumerate(outlines):
        closed = np.concatenate([outline, outline[:1]])
        shape = {"name": "polygon", "all_points_x": closed[:, 0].tolist(), "all_points_y": closed[:, 1].tolist()}
        regions[str(number)] = {"shape_attributes": shape, "region_attributes": {"label": "fractured"}}
    return {
        "fileref": "", "size": int(film.bytes), "filename": film.image_id, "base64_img_data": "",
        "file_attributes": {}, "regions": regions,
    }  # fmt: skip
