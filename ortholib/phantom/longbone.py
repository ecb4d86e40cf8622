"""Long bones of five regions, broken or not, with boxes around the fractures: the images of the FracAtlas phantom."""

from dataclasses import asdict, dataclass, replace

import numpy as np

from ortholib.phantom.anatomy import REGIONS, SCENES, TURN, Flesh, Round, Scene
from ortholib.phantom.fracture import Fracture, Shaft, draw_bone, draw_fracture, draw_plate
from ortholib.phantom.render import SOFT, SPONGY, Film, attenuation, chord, cone, detect, trabeculae

SIZE = {False: (160, 200), True: (200, 160)}  # landscape: width and height in pixels; large films have twice as many


@dataclass(frozen=True)
class View:
    """One projection on a film: its `fractures` (of the bones of the scene) and where the limb lies."""

    view: str
    fractures: tuple[Fracture, ...]
    zoom: float
    shift: tuple[float, float]
    angle: float
    mirrored: bool
    hardware_side: int


@dataclass(frozen=True)
class LongBone:
    """Truth of one film: `views` holds two of them on a multiscan film, side by side, else one."""

    region: str
    views: tuple[View, ...]
    fractured: bool
    hardware: bool
    scale: int
    landscape: bool
    growth_plate: float
    tissue: float
    photons: float
    blur: float
    gamma: float

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the film in pixels."""
        width, height = SIZE[self.landscape]
        return width * self.scale, height * self.scale

    def record(self) -> dict:
        """Flat dictionary: nuisance values, views, and per kind of fracture how often it occurs."""
        row = {k: v for k, v in asdict(self).items() if k != "views"}
        fractures = [f for v in self.views for f in v.fractures]
        row |= {"views": "+".join(v.view for v in self.views), "fracture_kinds": "+".join(f.kind for f in fractures)}
        return row | {"fracture_count": len(fractures), "multiscan": len(self.views) > 1}


def draw_film(rng: np.random.Generator, region: str, fractured: bool) -> LongBone:
    """A film of `region` (one of `REGIONS`); metal, multiscan and large films as often as in the real set."""
    if region not in REGIONS:
        raise ValueError(f"region {region!r}: expected one of {REGIONS}")
    limb = region in ("hand", "leg", "mixed")
    multiscan = limb and rng.random() < 0.10
    landscape = multiscan or rng.random() < 0.12
    names = ("frontal", "lateral") if multiscan else (str(rng.choice(list(TURN), p=[0.62, 0.16, 0.22])),)
    hardware = bool(rng.random() < (0.135 if fractured else 0.001))
    scene, chosen, count = SCENES[region](), None, 1 + int(fractured and rng.random() < 0.15)
    views = []
    for name in names:
        view = View(
            view=name,
            fractures=(),
            zoom=float(rng.uniform(1.05, 1.4) * (0.8 if multiscan else 1)),
            shift=(float(rng.normal(0, 4)), float(rng.normal(0, 5))),
            angle=float(rng.normal(0, 0.09) + (rng.choice([-1.3, 1.3]) if landscape and limb and not multiscan else 0)),
            mirrored=bool(rng.random() < 0.5),
            hardware_side=int(rng.choice([-1, 1])),
        )
        if fractured:
            width, height = SIZE[landscape]
            spots = _reachable(scene.turned(TURN[name]), view, width // len(names), height)
            if chosen is None:
                chosen = [draw_fracture(rng, scene.bones, spots) for _ in range(count)]
                chosen = chosen[:1] if len({f.bone for f in chosen}) < count else chosen
            # a second view shows the same breaks where they are on the film
            near = {f.bone: min((abs(at - f.at) for b, at in spots if b == f.bone), default=1) for f in chosen}
            fractures = tuple(f for f in chosen if near[f.bone] < 0.06)
            view = replace(view, fractures=fractures)
        views.append(view)
    return LongBone(
        region=region,
        views=tuple(views),
        fractured=fractured,
        hardware=hardware,
        scale=2 if rng.random() < (0.14 if fractured else 0.07) else 1,
        landscape=landscape,
        growth_plate=float(rng.uniform(0.25, 0.5) * (rng.random() < 0.10)),
        tissue=float(rng.uniform(0.85, 1.15)),
        photons=float(np.exp(rng.uniform(np.log(8e3), np.log(6e4)))),
        blur=float(rng.uniform(0.35, 0.7)),
        gamma=float(rng.uniform(0.75, 1.2)),
    )


def _film(view: View, width: int, height: int, scale: int) -> Film:
    centre = (width / 2 + view.shift[0] * scale, height / 2 + view.shift[1] * scale)
    # large films are sampled once a pixel: their edges already span several pixels
    return Film(height, width, 1 / (view.zoom * scale), centre, view.angle, fine=2 if scale == 1 else 1)


def _reachable(scene: Scene, view: View, width: int, height: int) -> list[tuple[int, float]]:
    """(bone, place) spots whose fracture would lie well inside the film, never empty for the scenes here."""
    film, spots = _film(view, width, height, 1), []
    for index, bone in enumerate(scene.bones):
        if bone.odds:
            at = np.linspace(0.2, 0.8, 25)
            shaft = Shaft(bone)
            x, y = film.to_pixels(shaft.to_film(at * shaft.length, np.zeros(25))).T
            inside = (x > 14) & (x < width - 14) & (y > 14) & (y < height - 14)
            spots += [(index, float(a)) for a in at[inside]]
    return spots


def render(bone: LongBone, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Radiograph (h, w) uint8 and one polygon (8, 2) per fracture in its pixels; `rng` draws texture and noise."""
    width, height = bone.size
    part = width // len(bone.views)
    sheets, polygons = [], []
    for number, view in enumerate(bone.views):
        film = _film(view, part, height, bone.scale)
        scene = SCENES[bone.region]().turned(TURN[view.view])
        _draw_scene(film, scene, view, bone, trabeculae(rng, film.bone.shape, 0.10))
        sheet = film.develop()
        sheets.append(sheet[:, ::-1] if view.mirrored else sheet)
        for fracture in view.fractures:
            polygon = film.to_pixels(Shaft(scene.bones[fracture.bone]).outline(fracture))
            if view.mirrored:
                polygon[:, 0] = part - polygon[:, 0]
            polygon = np.clip(polygon, 0, (part - 1, height - 1))
            polygons.append(polygon + np.array([number * part, 0]))
    image = detect(
        np.concatenate(sheets, axis=1), rng, photons=bone.photons, blur=bone.blur * bone.scale, gamma=bone.gamma,
        equalise=0.0,
    )  # fmt: skip
    return image, polygons


def _draw_scene(film: Film, scene: Scene, view: View, bone: LongBone, texture: np.ndarray) -> None:
    broken = {f.bone: f for f in view.fractures}
    for index, one in enumerate(scene.bones):
        draw_bone(film, one, texture, broken.get(index), bone.growth_plate)
    for body in scene.rounds:
        _draw_round(film, body, texture)
    for body in scene.flesh:
        _draw_flesh(film, body, bone.tissue)
    for fracture in view.fractures:  # the flesh bulges, denser with blood, where a bone is broken
        place = Shaft(scene.bones[fracture.bone]).outline(fracture).mean(axis=0)
        reach = scene.bones[fracture.bone].widths[1] + 3 + 4 * fracture.swelling
        _draw_flesh(film, Flesh(tuple(place), tuple(place + 1), reach, reach), 1.0)
        window = film.window(place[None], 3 * reach)
        x, y = film.grid(window)
        blood = np.exp(-((np.hypot(x - place[0], y - place[1]) / (1.3 * reach)) ** 2))
        film.soft[window] += 0.32 * fracture.swelling * blood * (film.soft[window] > 0)
    if bone.hardware:
        held = view.fractures[0] if view.fractures else None
        index = held.bone if held else int(np.argmax([b.odds for b in scene.bones]))
        draw_plate(film, scene.bones[index], held, view.hardware_side)


def _draw_round(film: Film, body: Round, texture: np.ndarray) -> None:
    window = film.window(np.array([body.centre]), max(body.radii))
    x, y = film.grid(window)
    rx, ry = body.radii
    radius = min(body.radii)
    depth = radius * (1 - np.hypot((x - body.centre[0]) / rx, (y - body.centre[1]) / ry))
    film.add_bone(window, attenuation(depth, radius, min(0.9, 0.25 * radius), SPONGY, texture[window]), body.fused)


def _draw_flesh(film: Film, body: Flesh, tissue: float) -> None:
    window = film.window(np.array([body.start, body.end]), max(body.r0, body.r1) * tissue)
    x, y = film.grid(window)
    r0, r1 = body.r0 * tissue, body.r1 * tissue
    depth = cone(x, y, body.start, body.end, r0, r1)
    path = SOFT * body.flat * chord(depth, np.float32(max(r0, r1)))
    film.soft[window] = np.maximum(film.soft[window], path)
