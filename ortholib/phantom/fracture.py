"""One long bone on the film: its shaft and cortex, a fracture through it, and the metal that holds it."""

from dataclasses import dataclass

import numpy as np

from ortholib.phantom.anatomy import Bone
from ortholib.phantom.render import METAL, SPONGY, Film, attenuation, smooth_min

MARGIN = 3.0  # mm of surroundings that the annotators leave around a fracture


@dataclass(frozen=True)
class Fracture:
    """An oblique break. Lengths in mm, angles in radians.

    `bone`: index into the scene; `at`: place along the bone (0..1); `angle`: of the line against the cross-section;
    `gap`: width of the lucent line; `shift`: sideways step of the far fragment; `tilt`: its angulation; `depth`: share
    of the bone that the line removes (1 complete); `callus`: healing bone around it, `swelling`:
    bleeding into the flesh around it (both 0..1).
    """

    kind: str
    bone: int
    at: float
    angle: float
    gap: float
    shift: float
    tilt: float
    depth: float
    callus: float
    swelling: float
    roughness: float


def draw_fracture(rng: np.random.Generator, bones: tuple[Bone, ...], reachable: list[tuple[int, float]]) -> Fracture:
    """A fracture at one of the `reachable` (bone index, place along it) spots, chosen by the odds of the bones."""
    odds = np.array([bones[i].odds for i, _ in reachable])
    bone, at = reachable[rng.choice(len(reachable), p=odds / odds.sum())]
    kind = str(rng.choice(["hairline", "simple", "displaced"], p=[0.14, 0.28, 0.58]))
    width, sign = bones[bone].widths[1], rng.choice([-1, 1], 2)
    gap, shift, tilt, depth = {
        "hairline": (rng.uniform(1.0, 1.8), 0.0, 0.0, rng.uniform(0.4, 0.7)),
        "simple": (rng.uniform(1.6, 3.2), rng.uniform(0.1, 0.4) * width, rng.uniform(0, 0.08), 1.0),
        "displaced": (rng.uniform(2.0, 6.0), rng.uniform(0.6, 1.5) * width, rng.uniform(0.10, 0.40), 1.0),
    }[kind]
    return Fracture(
        kind=kind, bone=int(bone), at=float(at), angle=float(rng.uniform(0.1, 0.75) * sign[0]), gap=float(gap),
        shift=float(shift * sign[1]), tilt=float(tilt * sign[1]), depth=float(depth),
        callus=float(rng.uniform(0.3, 1.0) * (rng.random() < 0.4)),
        swelling=float(rng.uniform(0, 1)), roughness=float(rng.uniform(0, 6.28)),
    )  # fmt: skip


class Shaft:
    """A bone in its own coordinates: `along` 0..length and `across`, both in mm."""

    def __init__(self, bone: Bone) -> None:
        self.bone, self.length = bone, max(bone.length, 1.0)
        u = (np.array(bone.end) - np.array(bone.start)) / self.length
        self.u, self.v = u, np.array([-u[1], u[0]])
        s = np.linspace(0, 1, 256)
        w0, w1, w2 = bone.widths
        # wide ends that taper within a quarter of the length, as epiphysis and metaphysis do
        half = w1 + (w0 - w1) * np.exp(-((s / 0.17) ** 2)) + (w2 - w1) * np.exp(-(((1 - s) / 0.17) ** 2))
        middle = np.clip(np.minimum(s, 1 - s) / 0.3, 0, 1)
        self.half = half.astype(np.float32)
        self.cortex = (0.9 + (0.30 * w1 - 0.9) * middle).clip(0.7).astype(np.float32)
        self.marrow = (SPONGY * (1.15 - 0.95 * middle)).astype(np.float32)

    def local(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Film coordinates in mm -> (along, across), the bow straightened."""
        dx, dy = x - self.bone.start[0], y - self.bone.start[1]
        along, across = dx * self.u[0] + dy * self.u[1], dx * self.v[0] + dy * self.v[1]
        s = np.clip(along / self.length, 0, 1)
        return along.astype(np.float32), (across - 4 * self.bone.bow * s * (1 - s)).astype(np.float32)

    def to_film(self, along: np.ndarray, across: np.ndarray) -> np.ndarray:
        """(along, across) in mm -> points (n, 2) on the film, the inverse of `local`."""
        s = np.clip(along / self.length, 0, 1)
        across = across + 4 * self.bone.bow * s * (1 - s)
        return np.array(self.bone.start) + np.outer(along, self.u) + np.outer(across, self.v)

    def integral(self, along: np.ndarray, across: np.ndarray, texture: np.ndarray) -> np.ndarray:
        """Line integral of the unbroken bone at local coordinates, float32 of their shape."""
        index = np.clip(along * (255 / self.length), 0, 255).astype(np.uint8)
        half = self.half[index]
        side, end = half - np.abs(across), np.minimum(along, self.length - along)
        depth = smooth_min(side, end, np.float32(0.6 * min(self.bone.widths)))
        return attenuation(depth, half, self.cortex[index], self.marrow[index], texture)

    def outline(self, fracture: Fracture) -> np.ndarray:
        """Polygon (8, 2) in mm on the film around a fracture: line, step and `MARGIN`."""
        centre = fracture.at * self.length
        half = float(np.interp(fracture.at, np.linspace(0, 1, 256), self.half)) + 0.5 * abs(fracture.shift)
        reach = half * abs(np.tan(fracture.angle)) * 0.6 + fracture.gap + MARGIN + 0.5 * abs(fracture.shift)
        turn = np.arange(8) * np.pi / 4 + np.pi / 8
        along, across = centre + np.cos(turn) * reach * 1.08, np.sin(turn) * (half + MARGIN) * 1.08
        return self.to_film(along, across + fracture.shift / 2)


def draw_bone(film: Film, bone: Bone, texture: np.ndarray, fracture: Fracture | None, growth_plate: float) -> None:
    """Add a bone to `film.bone`; `texture` (film shape) for the spongy part, `growth_plate` 0..1 its open physes."""
    shaft = Shaft(bone)
    wide = max(bone.widths) + abs(bone.bow) + (abs(fracture.shift) + 0.35 * shaft.length if fracture else 0)
    window = film.window(np.array([bone.start, bone.end]), wide)
    if fracture is None and (film.bone[window].size == 0):
        return
    along, across = shaft.local(*film.grid(window))
    grain = texture[window]
    whole = _broken(shaft, fracture, along, across, grain) if fracture else shaft.integral(along, across, grain)
    if growth_plate and bone.odds and shaft.length > 30:
        near = np.minimum(np.abs(along - 0.07 * shaft.length), np.abs(along - 0.93 * shaft.length))
        whole = whole * (1 - growth_plate * np.exp(-((near / 0.9) ** 2)))
    film.add_bone(window, whole, bone.fused)


def _broken(shaft: Shaft, f: Fracture, along: np.ndarray, across: np.ndarray, grain: np.ndarray) -> np.ndarray:
    """Line integral of two fragments, the far one stepped and tilted, with a ragged oblique gap between them."""
    centre = f.at * shaft.length
    cos, sin = np.float32(np.cos(f.angle)), np.float32(np.sin(f.angle))

    def past(a: np.ndarray, b: np.ndarray) -> np.ndarray:  # mm beyond the break
        ragged = 0.5 * np.sin(b * 1.1 + f.roughness) + 0.3 * np.sin(b * 2.7 + 2 * f.roughness)
        return (a - centre) * cos + b * sin + ragged

    if f.kind == "hairline":  # one cortex only, nothing moved
        whole = shaft.integral(along, across, grain)
        line = np.exp(-((past(along, across) / (0.6 * f.gap)) ** 2))
        return whole * (1 - f.depth * line * (across * np.sign(f.angle) > -1.0))
    ct, st = np.cos(f.tilt), np.sin(f.tilt)
    da, db = along - centre, across - f.shift
    far_along, far_across = (centre + da * ct + db * st).astype(np.float32), (db * ct - da * st).astype(np.float32)
    soft = 0.45
    near_share = 1 / (1 + np.exp(np.clip((past(along, across) + f.gap / 2) / soft, -30, 30)))
    far_share = 1 / (1 + np.exp(np.clip((f.gap / 2 - past(far_along, far_across)) / soft, -30, 30)))
    whole = shaft.integral(along, across, grain) * near_share + shaft.integral(far_along, far_across, grain) * far_share
    if f.callus:
        spread = 1.6 * shaft.bone.widths[1]
        cloud = np.exp(-((da / spread) ** 2) - ((across / spread) ** 2) * 0.8)
        whole = whole + 0.40 * f.callus * cloud * grain
    return whole


def draw_plate(film: Film, bone: Bone, fracture: Fracture | None, side: int) -> None:
    """Plate and screws on the `side` (-1, 1) of a bone, centred on its fracture (or its middle)."""
    shaft = Shaft(bone)
    centre, half = (fracture.at if fracture else 0.5) * shaft.length, bone.widths[1]
    reach = min(0.24 * shaft.length, 34.0)
    window = film.window(np.array([bone.start, bone.end]), max(bone.widths) + abs(bone.bow) + 6)
    along, across = shaft.local(*film.grid(window))
    thick = max(0.16 * half, 0.9)
    box = np.minimum(reach - np.abs(along - centre), thick - np.abs(across - side * (half + thick)))
    metal = np.clip(box + 0.5, 0, 1) * 2
    for place in (place for place in np.linspace(-0.88, 0.88, 6) if abs(place) >= 0.2):
        beside, beyond = np.abs(along - centre - place * reach), np.abs(across - side * half * 0.15)
        screw = np.minimum(0.55 - beside, half * 1.15 - beyond)
        metal = np.maximum(metal, np.clip(screw + 0.5, 0, 1) * 1.6)
    film.metal[window] += (METAL * metal).astype(np.float32)
