"""Knees from in front (AP, standing) with known joint space, osteophytes and sclerosis, and a Kellgren-Lawrence grade.

Frame of the body: mm, origin on the tibial plateau, x towards lateral, y downwards. A left knee shows lateral on the
right of the image; a right knee is its mirror image.
"""

from dataclasses import asdict, dataclass

import numpy as np

from ortholib.phantom.render import SOFT, SPONGY, Film, attenuation, chord, cone, detect, smooth_min, trabeculae

SIZE = 128
SITES = ("femur_medial", "femur_lateral", "tibia_medial", "tibia_lateral")
COMPARTMENT = 20.0  # mm from the midline to the middle of a compartment, where the joint space is defined


@dataclass(frozen=True)
class Knee:
    """Truth of one knee. Lengths in mm, angles in radians, `osteophytes` in the order of `SITES`.

    `kl_rule` is the grade of the true values, `kl` that of a reader who measures them with error: the label.
    """

    side: str
    jsw_normal: float
    jsw_medial: float
    jsw_lateral: float
    osteophytes: tuple[float, float, float, float]
    sclerosis: float
    medial_disease: bool
    kl_rule: int
    kl: int
    size: float
    shift_x: float
    shift_y: float
    rotation: float
    rim: float
    patella_x: float
    patella_y: float
    density: float
    tissue: float
    photons: float
    blur: float
    gamma: float
    equalise: float

    def record(self) -> dict:
        """Flat dictionary, one column a value (osteophytes as `osteophyte_<site>`)."""
        row = asdict(self)
        spurs = row.pop("osteophytes")
        return row | {f"osteophyte_{site}": mm for site, mm in zip(SITES, spurs, strict=True)}


def grade(osteophyte: float, loss: float) -> int:
    """Kellgren-Lawrence grade 0..4 by a fixed rule after the atlas wording.

    `osteophyte`: longest spur in mm; `loss`: lost share of the joint space in the worse compartment (0..1).
    4: loss >= 0.75 (marked narrowing). 3: loss >= 0.40 and a spur >= 2 mm (definite narrowing). 2: a spur >= 2 mm
    (definite osteophyte). 1: a spur >= 1 mm or loss >= 0.25 (doubtful). 0: none of these.
    """
    if loss >= 0.75:
        return 4
    if osteophyte >= 2:
        return 3 if loss >= 0.40 else 2
    return 1 if osteophyte >= 1 or loss >= 0.25 else 0


def draw_patient(rng: np.random.Generator) -> dict[str, Knee]:
    """Both knees ("L", "R") of one patient: severity correlated 0.6, body size, bone and soft tissue shared.

    The knots below put the grades at about 39/18/26/13/3 %, the shares of the real set.
    """
    shared = rng.standard_normal()
    size, tissue, density = rng.normal(1, 0.05), rng.uniform(0.85, 1.25), rng.normal(1, 0.08)
    jsw_normal, medial = rng.normal(5.6, 0.4), rng.random() < 0.7
    return {side: _draw(rng, side, shared, size, tissue, density, jsw_normal, medial) for side in "LR"}


def _draw(rng, side, shared, size, tissue, density, jsw_normal, medial) -> Knee:
    severity = np.sqrt(0.6) * shared + np.sqrt(0.4) * rng.standard_normal()
    knots = (-2.0, -0.28, 0.18, 0.95, 1.84, 2.8)
    spur = np.interp(severity, knots, (0.0, 0.80, 2.05, 3.6, 5.5, 7.5)) * rng.lognormal(0, 0.12)
    loss = np.interp(severity, knots, (0.0, 0.05, 0.13, 0.41, 0.77, 0.96)) + rng.normal(0, 0.03)
    loss = float(np.clip(loss, 0, 0.97))
    spurs = spur * rng.uniform(0.45, 0.95, 4)
    spurs[rng.integers(4)] = spur
    worse, other = jsw_normal * (1 - loss), jsw_normal * (1 + 0.12 * loss)
    return Knee(
        side=side,
        jsw_normal=float(jsw_normal),
        jsw_medial=float(worse if medial else other),
        jsw_lateral=float(other if medial else worse),
        osteophytes=tuple(float(s) for s in spurs),
        sclerosis=float(np.clip(1.15 * loss + rng.normal(0, 0.08), 0, 1)),
        medial_disease=bool(medial),
        kl_rule=grade(spur, loss),
        kl=grade(max(0.0, spur + rng.normal(0, 0.35)), loss + rng.normal(0, 0.05)),
        size=float(size * rng.normal(1, 0.02)),
        shift_x=float(rng.normal(0, 2.2)),
        shift_y=float(rng.normal(0, 2.2)),
        rotation=float(rng.normal(0, 0.035)),
        rim=float(rng.uniform(0.8, 3.2)),
        patella_x=float(rng.normal(2, 3)),
        patella_y=float(rng.normal(-30, 3)),
        density=float(density),
        tissue=float(tissue),
        photons=float(np.exp(rng.uniform(np.log(6e3), np.log(4e4)))),
        blur=float(rng.uniform(0.35, 0.75)),
        gamma=float(rng.uniform(0.8, 1.25)),
        equalise=float(rng.uniform(0.35, 0.75)),
    )


def plateau(x: np.ndarray) -> np.ndarray:
    """Height y in mm of the tibial plateau over x in mm: two shallow dishes and the two spines between them."""
    dish = 1.0 + 0.8 * np.exp(-(((np.abs(x) - COMPARTMENT) / 17) ** 2))
    spines = 5.0 * np.exp(-(((x + 4.2) / 3.0) ** 2)) + 3.8 * np.exp(-(((x - 4.8) / 3.0) ** 2))
    return dish - spines - 2.5 * np.exp(-((x / 11) ** 2))


def condyles(x: np.ndarray, knee: Knee) -> np.ndarray:
    """Height y in mm of the lower edge of the femur: the joint space above the plateau, opening to the notch."""
    dishes = 1.0 + 0.8 * np.exp(-(((np.abs(x) - COMPARTMENT) / 17) ** 2))
    # the femur tilts into the narrowed compartment, as a limb with a worn joint does
    space = knee.jsw_medial + (knee.jsw_lateral - knee.jsw_medial) * (x + COMPARTMENT) / (2 * COMPARTMENT)
    notch = 10.5 * np.exp(-((np.abs(x) / 9.5) ** 2.4))
    rise = 0.006 * np.maximum(np.abs(x) - COMPARTMENT, 0) ** 2
    return dishes - np.maximum(space, 0.15) - notch - rise


def _edge(height: np.ndarray, x: np.ndarray, table_x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height and 1 / sqrt(1 + slope^2) of a tabulated curve at the grid `x`; the latter turns gaps into distances."""
    step = table_x[1] - table_x[0]
    index = np.clip(((x - table_x[0]) / step + 0.5).astype(np.int32), 0, len(table_x) - 1)
    lean = 1 / np.sqrt(1 + np.gradient(height, step) ** 2)
    return height.astype(np.float32)[index], lean.astype(np.float32)[index]


def project(knee: Knee, rng: np.random.Generator, size: int = SIZE, *, texture: float = 0.11) -> np.ndarray:
    """Line integrals (size, size) float32 of a knee, before the detector; `rng` draws the trabeculae."""
    mm = 102 / size / knee.size
    centre = (size / 2 + knee.shift_x / mm, size * 0.53 + knee.shift_y / mm)
    film = Film(size, size, mm, centre, knee.rotation)
    x, y = film.grid()
    table = np.linspace(-90, 90, 1801)
    top, top_lean = _edge(plateau(table), x, table)
    low, low_lean = _edge(condyles(table, knee), x, table)
    femur = _femur(x, y, low, low_lean, table, knee)
    tibia = _tibia(x, y, top, top_lean, table, knee)
    inside = knee.density * SPONGY, trabeculae(rng, x.shape, texture)

    for depth, surface, radius in ((femur, low - y, 25.0), (tibia, y - top, 22.0)):
        film.bone += attenuation(depth, radius, 1.15, *inside)
        # sclerosis: denser bone within some mm of the joint surface, in the compartment that carries the load
        worn = -x if knee.medial_disease else x
        load = 1 / (1 + np.exp(np.clip(-(worn - 6) / 3, -30, 30)))
        band = np.exp(-np.maximum(surface, 0) / 4.5) * load
        film.bone += 0.55 * knee.sclerosis * band * np.clip(depth / 2, 0, 1)
    # front and back rims of the plateau project apart when the beam is not parallel to it: a second faint line
    rim = np.exp(-(((y - top - knee.rim) / 0.7) ** 2)) * np.clip(tibia / 3, 0, 1)
    film.bone += 0.10 * rim * (np.abs(x) > 9)

    head = cone(x, y, (35.5, 19), (33.5, 29), 7.5, 4.8)
    fibula = np.maximum(head, cone(x, y, (33.5, 29), (31.5, 80), 4.8, 4.6))
    film.bone += attenuation(fibula, 7.0, 0.9, *inside)
    patella = 20 - np.hypot(x - knee.patella_x, (y - knee.patella_y) * 1.15)
    film.bone += 0.42 * attenuation(patella, 10.0, 0.6, *inside)

    skin = 62 * knee.tissue - np.abs(x - 2) - 0.0011 * y * y
    film.soft += SOFT * chord(skin, 55.0)
    image = film.develop()
    return image[:, ::-1] if knee.side == "R" else image


def _femur(x, y, low, low_lean, table, knee) -> np.ndarray:
    """Depth field in mm of the femur: flaring shaft, condyles, spurs at the lower corners."""
    knots = [-90, -75, -58, -46, -36, -26, -14, -4, 5, 90]
    half, lean = _edge(_smooth(table, knots, [17, 18, 21.5, 28, 35.5, 39, 38, 36.5, 35, 35]), y, table)
    depth = smooth_min((half - np.abs(x + 0.5)) * lean, (low - y) * low_lean, 5.0)
    for sign, spur in ((-1, knee.osteophytes[0]), (1, knee.osteophytes[1])):
        corner, base = 34.0 * sign, float(condyles(np.array(34.0 * sign), knee)) - 4.0
        depth = np.maximum(depth, _spur(x, y, corner, base, sign, spur, -0.35))
    return depth


def _tibia(x, y, top, top_lean, table, knee) -> np.ndarray:
    """Depth field in mm of the tibia: plateau with spines, narrowing shaft, spurs at the upper corners."""
    knots = [-90, -5, 2, 8, 17, 27, 38, 52, 90]
    half, lean = _edge(_smooth(table, knots, [36.5, 36.5, 37.5, 37.5, 34.5, 29.5, 24.5, 20, 17]), y, table)
    depth = smooth_min((half - np.abs(x)) * lean, (y - top) * top_lean, 4.0)
    for sign, spur in ((-1, knee.osteophytes[2]), (1, knee.osteophytes[3])):
        depth = np.maximum(depth, _spur(x, y, 34.0 * sign, 4.6, sign, spur, -0.25))
    return depth


def _spur(x, y, corner: float, base: float, sign: int, length: float, slope: float) -> np.ndarray:
    """Depth field in mm of an osteophyte: a lip that grows `length` mm out of the margin of a joint."""
    tip = (corner + sign * (2.2 + length), base + slope * sign * sign * length)
    return cone(x, y, (corner - sign * 2, base), tip, min(3.4, 1.2 + 0.5 * length), 0.45)


def _smooth(at: np.ndarray, knots: list[float], values: list[float]) -> np.ndarray:
    """Monotone-safe smooth curve through `knots`: linear interpolation, rounded over a few mm."""
    line = np.interp(at, knots, values)
    kernel = np.hanning(61)
    return np.convolve(np.pad(line, 30, mode="edge"), kernel / kernel.sum(), mode="valid")


def render(knee: Knee, rng: np.random.Generator, size: int = SIZE) -> np.ndarray:
    """Radiograph (size, size) uint8 of a knee; `rng` draws texture and detector noise."""
    integral = project(knee, rng, size)
    return detect(integral, rng, photons=knee.photons, blur=knee.blur, gamma=knee.gamma, equalise=knee.equalise)
