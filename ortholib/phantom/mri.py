"""Slices of simple joints as MRI shows them, and a knee with menisci and a cruciate ligament that may be torn.

Frame of the body: mm, origin in the middle of the joint, x towards lateral, y backwards, z downwards. A body is a depth
field: the distance from its surface inwards, negative outside. Tissues are painted one over the other; the scanner then
adds uneven coil sensitivity and Rician noise and interpolates to the finished size, as zero filling does.
"""

from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

# signal of a proton-density image: marrow and fluid bright, cortex, menisci and ligaments dark
FLUID, FAT, MARROW, CARTILAGE, CAPSULE, MUSCLE, FIBRES, CORTEX = 1.0, 0.80, 0.68, 0.52, 0.42, 0.34, 0.08, 0.05
AXES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}  # body axis across slices, down rows, columns
SAMPLES = 0.5  # acquired samples per finished pixel and axis


@dataclass(frozen=True)
class Stack:
    """Parallel slices through a body: where they lie, and how the body lies in the scanner.

    `positions`: mm of each slice along its axis; `size`: pixels of the square finished slices, `field` mm across;
    `shift`: mm of the body's origin; `tilt`: its rotation about x in radians; `mirrored`: lateral lies towards the
    scanner's negative x, as it does here in left joints.
    """

    plane: str
    positions: tuple[float, ...]
    size: int
    field: float
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tilt: float = 0.0
    mirrored: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns) that are acquired, before interpolation."""
        return len(self.positions), round(self.size * SAMPLES), round(self.size * SAMPLES)

    def points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates x, y, z of the body in mm, float32 arrays that broadcast to `shape`."""
        rows = self.shape[1]
        pixel = self.field / rows
        line = ((np.arange(rows) + 0.5) * pixel - self.field / 2).astype(np.float32)
        at = [np.asarray(self.positions, np.float32)[:, None, None], line[None, :, None], line[None, None, :]]
        scanner = dict(zip(AXES[self.plane], at, strict=True))
        x, y, z = (scanner[axis] - np.float32(self.shift[axis]) for axis in range(3))
        cos, sin = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        return (-x if self.mirrored else x), y * cos + z * sin, z * cos - y * sin

    def place(self, point: tuple[float, float, float]) -> tuple[int, float, float]:
        """(index of the nearest slice, row, column) in finished pixels of a point of the body in mm."""
        x, y, z = point
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        turned = np.array([-x if self.mirrored else x, y * cos - z * sin, z * cos + y * sin]) + self.shift
        across, down, right = turned[list(AXES[self.plane])]
        scale = self.size / self.field
        nearest = int(np.argmin(np.abs(np.asarray(self.positions) - across)))
        return nearest, float((down + self.field / 2) * scale), float((right + self.field / 2) * scale)


def paint(signal: np.ndarray, depth: np.ndarray, value: float, edge: float = 0.9) -> None:
    """Cover `signal` with a tissue of `value` where `depth` is positive; the border blends over `edge` mm."""
    cover = np.clip(depth * np.float32(1 / edge) + np.float32(0.5), 0, 1)
    signal += (np.float32(value) - signal) * cover


def bone(signal: np.ndarray, depth: np.ndarray, cortex: float = 1.6) -> None:
    """Paint a bone: a dark cortex `cortex` mm thick around bright marrow."""
    paint(signal, depth, CORTEX)
    paint(signal, depth - cortex, MARROW)


def ellipsoid(points: tuple, centre: tuple, radii: tuple) -> np.ndarray:
    """Depth field in mm of an ellipsoid, exact at its surface along the shortest axis."""
    total = sum(((points[a] - np.float32(centre[a])) * np.float32(1 / radii[a])) ** 2 for a in range(3))
    return np.float32(min(radii)) * (1 - np.sqrt(total))


def capsule(points: tuple, start: tuple, end: tuple, r0: float, r1: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth field in mm of a rounded cone from `start` (radius `r0`) to `end` (`r1`), and the place 0..1 along it."""
    along = np.subtract(end, start).astype(np.float32)
    offset = [points[axis] - np.float32(start[axis]) for axis in range(3)]
    t = sum(offset[axis] * along[axis] for axis in range(3)) / np.float32(along @ along)
    t = np.clip(t, 0, 1)
    distance = np.sqrt(sum((offset[axis] - t * along[axis]) ** 2 for axis in range(3)))
    return np.float32(r0) + np.float32(r1 - r0) * t - distance, t


def band(signal: np.ndarray, points: tuple, start: tuple, end: tuple, radii: tuple, gap: float, around: float) -> None:
    """Paint a ligament or tendon with these `radii` at its ends, dark where whole.

    Along the share `gap` of its length (0: intact, 1: gone) around the place `around` (0..1) it is torn: fluid.
    """
    depth, t = capsule(points, start, end, *radii)
    paint(signal, depth, FIBRES)
    if gap:
        reach = np.float32(np.linalg.norm(np.subtract(end, start)))
        inside = (np.float32(gap / 2) - np.abs(t - np.float32(around))) * reach
        paint(signal, np.minimum(depth + 0.6, inside), FLUID * 0.85)


def acquire(signal: np.ndarray, stack: Stack, rng: np.random.Generator, noise: float) -> np.ndarray:
    """Signal of `stack.shape` -> finished slices (n, size, size) float32, fluid about 1.

    `noise`: standard deviation of each of the two channels.
    """
    _, rows, columns = stack.shape
    u, v = (np.linspace(-1, 1, n, dtype=np.float32) for n in (rows, columns))
    fall, lean = rng.uniform(0.05, 0.25), rng.uniform(-0.12, 0.12, 2)
    coil = 1 - fall * (u[:, None] ** 2 + v**2) / 2 + lean[0] * u[:, None] + lean[1] * v
    real = signal * coil.astype(np.float32) + noise * rng.standard_normal(signal.shape, dtype=np.float32)
    magnitude = np.hypot(real, noise * rng.standard_normal(signal.shape, dtype=np.float32))
    size = (stack.size, stack.size)
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in magnitude])


def levels(values: np.ndarray, gain: float, top: int) -> np.ndarray:
    """Values as whole numbers 0..top (uint8 or uint16), `gain` of them for fluid."""
    return np.rint(np.clip(values * np.float32(gain), 0, top)).astype(np.uint8 if top < 256 else np.uint16)


@dataclass(frozen=True)
class Knee:
    """Truth of one knee. Lengths in mm.

    `acl_gap`: share of the anterior cruciate ligament that is torn, 0 when intact, around the place `acl_at` (0..1 from
    the tibia); `tear`: "" or the kind of meniscal tear; `tear_medial`: in which meniscus; `tear_at`: where between its
    inner rim (0) and its outer one (1); `effusion`: fluid in the joint.
    """

    left: bool
    acl_gap: float
    acl_at: float
    tear: str
    tear_medial: bool
    tear_at: float
    tear_width: float
    effusion: bool
    size: float
    fat: float
    muscle: float
    shift: tuple[float, float, float]
    tilt: float
    gain: float
    noise: float

    @property
    def acl_middle(self) -> tuple[float, float, float]:
        """Where the ligament is torn, or would be, in mm."""
        return tuple(self.size * (a + self.acl_at * (b - a)) for a, b in zip(*ACL, strict=True))

    @property
    def horn(self) -> tuple[float, float, float]:
        """Where the posterior horn of the chosen meniscus is torn, or would be, in mm."""
        side = -1 if self.tear_medial else 1
        across = INNER + (OUTER - INNER) * self.tear_at
        return (self.size * side * COMPARTMENT, self.size * (BACK + LONGER * across), self.size * LEVEL)

    def record(self) -> dict:
        """Flat dictionary, one column a value (the shift as `shift_x`, `shift_y`, `shift_z`)."""
        row = asdict(self)
        shift = row.pop("shift")
        return row | {f"shift_{axis}": mm for axis, mm in zip("xyz", shift, strict=True)}


ACL = ((-1.0, -7.0, 3.0), (6.0, 14.0, -21.0))  # on the tibia, on the femur
PCL = ((-2.0, 20.0, 7.0), (-6.0, -2.0, -20.0))
COMPARTMENT, BACK, LEVEL = 21.0, 3.0, 1.0  # centre of a meniscus: mm from the midline, backwards, down
INNER, OUTER, LONGER, HEIGHT = 6.0, 16.0, 1.35, 6.5  # radii of a meniscus, stretch from front to back, outer height


def draw_knee(rng: np.random.Generator, *, acl: bool, meniscus: bool, effusion: bool) -> Knee:
    """A knee with these findings; all else varies without regard to them."""
    gap, kind = rng.uniform(0.45, 1.0), str(rng.choice(["horizontal", "vertical"]))
    return Knee(
        left=bool(rng.random() < 0.5),
        acl_gap=float(gap) if acl else 0.0,
        acl_at=float(rng.uniform(0.42, 0.58)),
        tear=kind if meniscus else "",
        tear_medial=bool(rng.random() < 0.65),
        tear_at=float(rng.uniform(0.5, 0.75)),
        tear_width=float(rng.uniform(2.0, 2.8)),
        effusion=effusion,
        size=float(rng.normal(1, 0.04)),
        fat=float(rng.uniform(4, 11)),
        muscle=float(rng.uniform(0.9, 1.15)),
        shift=tuple(float(mm) for mm in np.clip(rng.normal(0, 2, 3), -4, 4)),
        tilt=float(rng.normal(0, 0.05)),
        gain=float(rng.uniform(150, 235)),
        noise=float(rng.uniform(0.02, 0.05)),
    )


def knee_stack(knee: Knee, plane: str, count: int, size: int = 256) -> Stack:
    """`count` slices through the joint: all of the menisci, or for axial ones from the patella to below them."""
    first, last = {"axial": (-30, 14), "coronal": (-20, 26), "sagittal": (-27, 27)}[plane]
    positions = tuple(float(mm) for mm in np.linspace(first, last, count))
    return Stack(plane, positions, size, 112.0, knee.shift, knee.tilt, knee.left)


def render_knee(knee: Knee, stack: Stack, rng: np.random.Generator) -> np.ndarray:
    """Slices (n, size, size) uint8 of a knee; `rng` draws the scanner's part."""
    points = tuple(axis / np.float32(knee.size) for axis in stack.points())
    signal = np.zeros(stack.shape, np.float32)
    _flesh(signal, points, knee)
    _bones(signal, points)
    _menisci(signal, points, knee)
    band(signal, points, *PCL, (4.2, 4.2), 0.0, 0.5)
    band(signal, points, *ACL, (3.8, 3.8), knee.acl_gap, knee.acl_at)
    return levels(acquire(signal, stack, rng, knee.noise), knee.gain, 255)


def _flesh(signal: np.ndarray, points: tuple, knee: Knee) -> None:
    """Skin, fat and muscle of the leg, the joint capsule, the fluid in it, and the tendon of the patella."""
    x, y, _ = points
    leg = np.float32(54) * (1 - np.hypot(x / np.float32(54), (y - 4) / np.float32(54)))
    paint(signal, leg, FAT)
    paint(signal, leg - np.float32(knee.fat), MUSCLE * knee.muscle)
    paint(signal, ellipsoid(points, (0, -26, 2), (17, 13, 18)), 0.9 * FAT)
    paint(signal, ellipsoid(points, (0, 4, -3), (41, 31, 16)), CAPSULE)
    pouch = 7.0 if knee.effusion else 2.0
    paint(signal, ellipsoid(points, (0, -31, -36), (17, pouch, 15)), FLUID)
    paint(signal, capsule(points, (0, -40, -10), (0, -29, 34), 2.6, 2.6)[0], FIBRES)


def _bones(signal: np.ndarray, points: tuple) -> None:
    """Femur, tibia, fibula and patella with their cartilage."""
    x, y, z = points
    condyles = np.maximum(*(ellipsoid(points, (side * COMPARTMENT, 4, -20), (14.5, 27, 18)) for side in (-1, 1)))
    shaft = np.minimum(capsule(points, (0, -2, -34), (0, -5, -90), 22, 15)[0], -25 - z)
    femur = np.maximum(condyles, shaft)
    narrow = np.clip(1 - (z - 12) / 70, 0.5, 1)
    outline = 24 * (narrow - np.hypot(x / 38, (y - 4) / 25))
    top = z - 4 + 6 * np.exp(-((x / 5) ** 2))
    tibia = np.minimum(outline, top)
    patella = ellipsoid(points, (0, -38, -22), (19, 8, 18))
    for depth in (condyles, np.minimum(outline + 1, np.minimum(top, 12 - z)), patella):
        paint(signal, depth + 2.2, CARTILAGE)
    for depth in (femur, tibia, patella, capsule(points, (32, 16, 18), (34, 18, 90), 7, 5.5)[0]):
        bone(signal, depth)


def _menisci(signal: np.ndarray, points: tuple, knee: Knee) -> None:
    """Two dark wedges that open towards the midline; a tear is a bright sheet through the back half of one."""
    x, y, z = points
    for side in (-1, 1):
        across = side * x - COMPARTMENT
        radius = np.hypot(across, (y - BACK) / LONGER)
        rise = np.clip((radius - INNER) * (HEIGHT / (OUTER - INNER)), 0, HEIGHT)
        wedge = np.minimum(np.minimum(rise / 2 - np.abs(z - LEVEL), OUTER - radius), across + 0.75 * radius)
        paint(signal, wedge, FIBRES)
        if knee.tear and knee.tear_medial == (side < 0):
            middle = INNER + (OUTER - INNER) * knee.tear_at
            sheet = z - LEVEL - 0.25 * (radius - middle) if knee.tear == "horizontal" else radius - middle
            cut = np.minimum(knee.tear_width / 2 - np.abs(sheet), y - BACK)
            paint(signal, np.minimum(cut, wedge + 0.5), FLUID * 0.9)
