"""Radiographs of simple bones: attenuation along parallel rays, then a detector.

A body is described by its depth field `d(x, y)` in mm: the distance from the silhouette inwards, negative outside.
With the half-thickness `R` along the ray, the path length of a ray is the chord of a circle of radius `R` at depth `d`:
exact for spheres, cylinders and capsules, and a slab with a rounded rim for anything wider than it is thick.
A bone is the chord of its outer surface minus that of its inner one (cortex) plus the inner one (spongy bone); that
difference is largest one cortex below the edge, which is the white line that radiographs show there.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

# per mm; bone values are the excess over the soft tissue that the bone displaces, so bodies simply add up
SOFT = 0.016
SPONGY = 0.011
CORTEX = 0.042
METAL = 0.55


@dataclass
class Film:
    """A supersampled sheet of line integrals, addressed in mm.

    `height`, `width`: pixels of the finished image; `mm`: mm per pixel; `centre`: pixel (x, y) where the origin of the
    body lies; `angle`: rotation of the body in radians, clockwise on the image; `fine`: samples per pixel and axis.
    `bone`, `soft`, `metal`: (height * fine, width * fine) float32 line integrals, without unit.
    """

    height: int
    width: int
    mm: float
    centre: tuple[float, float]
    angle: float = 0.0
    fine: int = 2
    bone: np.ndarray = field(init=False, repr=False)
    soft: np.ndarray = field(init=False, repr=False)
    metal: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = (self.height * self.fine, self.width * self.fine)
        self.bone, self.soft, self.metal = (np.zeros(shape, np.float32) for _ in range(3))

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2) in mm -> (n, 2) pixel coordinates (x, y) of the finished image, pixel edges at integers."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x, y = np.asarray(points, float).T / self.mm
        return np.stack([self.centre[0] + x * cos - y * sin, self.centre[1] + x * sin + y * cos], axis=1)

    def window(self, points: np.ndarray, margin: float) -> tuple[slice, slice]:
        """Slices (rows, columns) of the fine sheet that hold `points` (n, 2) in mm with `margin` mm around them."""
        pixels, pad = self.to_pixels(points) * self.fine, margin / self.mm * self.fine + 2
        low = np.floor(pixels.min(axis=0) - pad).astype(int)
        high = np.ceil(pixels.max(axis=0) + pad).astype(int)
        rows, columns = self.bone.shape
        (x0, y0), (x1, y1) = np.clip(low, 0, (columns, rows)), np.clip(high, 0, (columns, rows))
        return slice(y0, y1), slice(x0, x1)

    def grid(self, window: tuple[slice, slice] = (slice(None), slice(None))) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates (x, y) in mm of the fine samples inside `window`, two float32 arrays of its shape."""
        rows, columns = (np.arange(n, dtype=np.float32)[w] for n, w in zip(self.bone.shape, window, strict=True))
        u = ((columns + 0.5) / self.fine - self.centre[0]) * self.mm
        v = (((rows + 0.5) / self.fine - self.centre[1]) * self.mm)[:, None]
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        return (u * cos + v * sin).astype(np.float32), (v * cos - u * sin).astype(np.float32)

    def add_bone(self, window: tuple[slice, slice], whole: np.ndarray, fused: bool) -> None:
        """Add a bone to what `window` shows, or where it is `fused` with another let the denser of the two count."""
        sheet = self.bone[window]
        self.bone[window] = np.maximum(sheet, whole) if fused else sheet + whole

    def develop(self) -> np.ndarray:
        """Line integrals (height, width) float32, averaged over the fine samples of each pixel."""
        # metal is opaque long before its path ends: bounded, or the display window would be lost to it
        total = self.bone + self.soft + np.minimum(self.metal, 1.3)
        return total.reshape(self.height, self.fine, self.width, self.fine).mean(axis=(1, 3))


def chord(depth: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
    """Path length in mm of a ray `depth` mm inside the silhouette of a body of half-thickness `radius` mm."""
    d = np.clip(depth, 0, radius)
    return 2 * np.sqrt(d * (2 * radius - d))


def attenuation(
    depth: np.ndarray, radius: np.ndarray | float, cortex: np.ndarray | float, spongy: np.ndarray | float, texture
) -> np.ndarray:
    """Line integral of a bone whose cortex is `cortex` mm thick, around `spongy` (per mm) with the grain `texture`."""
    inner = chord(depth - cortex, np.maximum(radius - cortex, 0))
    return CORTEX * (chord(depth, radius) - inner) + spongy * inner * texture


def smooth_min(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Intersection of two bodies with the edge rounded over `k` mm (polynomial smooth minimum, Quilez)."""
    h = np.maximum(k - np.abs(a - b), 0) / k
    return np.minimum(a, b) - h * h * (k / 4)


def cone(x: np.ndarray, y: np.ndarray, start: tuple, end: tuple, r0: float, r1: float) -> np.ndarray:
    """Depth field in mm of a rounded cone from `start` (radius `r0`) to `end` (radius `r1`), points (x, y) in mm."""
    (ax, ay), (bx, by) = start, end
    ux, uy = bx - ax, by - ay
    t = np.clip(((x - ax) * ux + (y - ay) * uy) / max(ux * ux + uy * uy, 1e-6), 0, 1)
    return r0 + (r1 - r0) * t - np.hypot(x - ax - t * ux, y - ay - t * uy)


def trabeculae(rng: np.random.Generator, shape: tuple[int, int], strength: float) -> np.ndarray:
    """Factor (shape) float32 around 1 that gives spongy bone its mostly vertical streaks."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), (2.2, 0.8), truncate=2.5)
    return 1 + noise * np.float32(strength / 0.21)  # 0.21: spread that this filter leaves of white noise


def expose(integral: np.ndarray, rng: np.random.Generator, photons: float, blur: float) -> np.ndarray:
    """Line integrals (h, w) as a detector measures them, by Beer-Lambert with `photons` per pixel in air, a `blur` in
    pixels and quantum noise (normal approximation of Poisson)."""
    counts = photons * np.exp(-ndimage.gaussian_filter(integral, blur))
    counts = counts + np.sqrt(counts) * rng.standard_normal(counts.shape, dtype=np.float32)
    return -np.log(np.maximum(counts, 1) / photons)


def detect(
    integral: np.ndarray, rng: np.random.Generator, *, photons: float, blur: float, gamma: float, equalise: float
) -> np.ndarray:
    """Line integrals (h, w) -> radiograph (h, w) uint8, dense tissue bright.

    `expose`, local brightness removed to the share `equalise` (0: plain film, about 0.6: the look of contrast-equalised
    copies), display window between percentiles, `gamma`.
    """
    image = expose(integral, rng, photons, blur)
    if equalise:
        image = image - equalise * ndimage.gaussian_filter(image, 0.12 * image.shape[1], truncate=2)
    low, high = np.percentile(image, (0.5, 99.7))
    low += 0.03 * (high - low)  # the noise of bare air is clipped to black, as the display window of a film does
    image = np.clip((image - low) / max(high - low, 1e-6), 0, 1) ** gamma
    return np.rint(image * 255).astype(np.uint8)
