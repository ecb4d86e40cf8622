"""Schematic skeletons: which bones a region shows, where they lie, and what flesh surrounds them.

Frame: mm, origin in the middle of the film, x to the right, y downwards; the film spans about 160 x 200 mm. Limbs are
drawn smaller than life where they would not fit, as a film holds them.
"""

from dataclasses import dataclass, replace

import numpy as np

REGIONS = ("hand", "leg", "hip", "shoulder", "mixed")
# how much of the sideways distances a view keeps: bones of a pair come to overlap as the limb turns
TURN = {"frontal": 1.0, "oblique": 0.72, "lateral": 0.4}

Point = tuple[float, float]


@dataclass(frozen=True)
class Bone:
    """A long bone from `start` to `end` with half-widths `widths` (start, middle, end) and `bow`, all in mm.

    `odds`: how often, relative to the others of the scene, this one is the bone that breaks. `fused`: part of the bone
    drawn before it (a femoral neck and its shaft), so the denser of the two counts where they overlap, not the sum.
    """

    start: Point
    end: Point
    widths: tuple[float, float, float]
    bow: float = 0.0
    odds: float = 0.0
    fused: bool = False

    @property
    def length(self) -> float:
        """Distance of the ends in mm."""
        return float(np.hypot(self.end[0] - self.start[0], self.end[1] - self.start[1]))


@dataclass(frozen=True)
class Round:
    """A short bone or a joint head: ellipsoid with semi-axes `radii` in mm; `fused` as for `Bone`."""

    centre: Point
    radii: tuple[float, float]
    fused: bool = False


@dataclass(frozen=True)
class Flesh:
    """Soft tissue: a rounded cone from `start` (radius `r0`) to `end` (radius `r1`), mm, flattened along the ray."""

    start: Point
    end: Point
    r0: float
    r1: float
    flat: float = 1.0


@dataclass(frozen=True)
class Scene:
    """Everything one view shows, in drawing order."""

    bones: tuple[Bone, ...]
    rounds: tuple[Round, ...]
    flesh: tuple[Flesh, ...]

    def turned(self, keep: float) -> "Scene":
        """The scene with sideways distances of bones multiplied by `keep` (see `TURN`); flesh stays."""

        def at(point: Point) -> Point:
            return point[0] * keep, point[1]

        bones = tuple(replace(b, start=at(b.start), end=at(b.end)) for b in self.bones)
        return Scene(bones, tuple(replace(r, centre=at(r.centre)) for r in self.rounds), self.flesh)


def hand() -> Scene:
    """Wrist and hand from the back: radius, ulna, carpus, five rays."""
    bones = [
        Bone((-13, 112), (-11, 38), (7.5, 7.2, 12.0), 1.5, odds=5),
        Bone((14, 112), (13, 40), (7.0, 6.0, 6.5), -1.0, odds=2),
    ]
    roots = ((-19, 17), (-10.5, 10), (-2.5, 9), (5.5, 10.5), (13, 14))
    fans = (-0.75, -0.20, -0.04, 0.12, 0.30)
    lengths = ((25, 19, 15), (40, 24, 14, 11), (40, 27, 17, 11), (36, 25, 16, 11), (33, 19, 12, 10))
    flesh = [
        Flesh((0, 118), (0, 55), 31, 25, 0.75),
        Flesh((0, 55), (0, 20), 25, 28, 0.68),
        Flesh((-1, 20), (0, -18), 29, 31, 0.6),
    ]
    for (x, y), fan, parts in zip(roots, fans, lengths, strict=True):
        ux, uy, width = np.sin(fan), -np.cos(fan), 4.6
        base = (x, y)
        for part, length in enumerate(parts):
            tip = (x + ux * length, y + uy * length)
            waist = width * 0.68
            bones.append(Bone((x, y), tip, (width, waist, width * 0.95), odds=(1.0, 0.4, 0.1, 0.0)[part]))
            x, y, width = tip[0] + ux * 1.8, tip[1] + uy * 1.8, width * 0.86
        flesh.append(Flesh(base, (x, y), 10.0, 7.0))
    carpus = (
        ((-16, 31), (7, 5.5)), ((-5, 32), (6, 5.5)), ((5, 33), (5, 4.5)), ((9, 29), (4, 4)),
        ((-18, 22.5), (4.6, 4.6)), ((-11, 20), (4.4, 4.8)), ((-2.5, 20), (5.4, 8)), ((8, 21), (5.8, 6)),
    )  # fmt: skip
    return Scene(tuple(bones), tuple(Round(*c) for c in carpus), tuple(flesh))


def leg() -> Scene:
    """Lower leg: tibia and fibula, the femoral condyles above, the ankle below."""
    bones = (
        Bone((-4, -74), (-5, 72), (24, 9.5, 14), -2.0, odds=3),
        Bone((24, -64), (15, 80), (7, 4.2, 7), 1.5, odds=2),
        Bone((-3, -130), (-3, -79), (14, 17, 27)),
    )
    rounds = (Round((-2, 84), (16, 9)), Round((2, 99), (20, 9)))
    return Scene(bones, rounds, (Flesh((2, -110), (2, -20), 46, 44), Flesh((2, -20), (0, 110), 44, 25)))


def hip() -> Scene:
    """One hip: femur with head, neck and trochanters, the socket and a part of the pelvis."""
    bones = (
        Bone((22, -22), (18, 118), (19, 13.5, 13.5), 2.0, odds=2),
        Bone((22, -17), (-22, -50), (16, 11.5, 15), odds=3, fused=True),
        Bone((-34, -118), (-38, -58), (38, 21, 19)),
        Bone((-46, -50), (-92, -36), (11, 6.5, 9), -5.0),
        Bone((-48, -40), (-74, 8), (11, 7.5, 11), 5.0),
    )
    rounds = (
        Round((-24, -51), (19, 19), fused=True),
        Round((30, -27), (11, 14), fused=True),
        Round((6, 10), (9, 10), fused=True),
    )
    return Scene(bones, rounds, (Flesh((-26, -120), (-20, -24), 96, 84, 0.75), Flesh((4, -30), (16, 140), 66, 56)))


def shoulder() -> Scene:
    """One shoulder: humerus, clavicle, shoulder blade and the outer ribs."""
    ribs = tuple(Bone((-96, y), (-44, y + 30), (3.6, 3.0, 3.0), 10.0) for y in (-52, -28, -4, 20, 44, 68))
    bones = (
        Bone((20, -46), (34, 116), (16, 10.0, 12), -1.0, odds=4),
        Bone((-88, -66), (14, -76), (9, 5.5, 7), -7.0, odds=2),
        Bone((-8, -48), (-44, 26), (12, 9, 6), 3.0),
        Bone((-30, -62), (24, -72), (6, 5, 8), 2.0),
        *ribs,
    )
    rounds = (Round((17, -50), (19, 19), fused=True), Round((-6, -46), (6, 15), fused=True))
    flesh = (
        Flesh((-84, -30), (-74, 120), 70, 66, 0.55),
        Flesh((-40, -44), (14, -40), 46, 42, 0.8),
        Flesh((16, -42), (34, 130), 40, 30),
    )
    return Scene(bones, rounds, flesh)


def mixed() -> Scene:
    """A whole arm of a child: humerus, elbow, radius and ulna (two regions on one film)."""
    bones = (
        Bone((-44, -104), (-16, 2), (13, 8.0, 15), 1.0, odds=3),
        Bone((-8, 10), (46, 102), (7.5, 5.8, 9.5), -2.0, odds=2),
        Bone((-20, 2), (32, 106), (10, 5.6, 5.6), 1.5, odds=2),
    )
    rounds = (Round((-13, 0), (8, 6), fused=True),)
    return Scene(bones, rounds, (Flesh((-46, -115), (-16, 2), 34, 27), Flesh((-16, 4), (42, 115), 28, 20)))


SCENES = {"hand": hand, "leg": leg, "hip": hip, "shoulder": shoulder, "mixed": mixed}
