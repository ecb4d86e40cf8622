"""Multi-crop augmentation of DINO, on the device, one channel, whole batches.

Recipe: Caron et al. 2021 (arXiv 2104.14294) and its published code: random resized crop (antialiased bicubic), flip,
brightness and contrast, blur, and solarization of the second global crop. Its saturation, hue and grey steps change
nothing on radiographs and are left out.

Crop, flip, filter and resize are two batched matrix products, `Wy @ image @ Wx^T`, with one pair of matrices per crop;
blur is a convolution with one group per crop. Shapes depend on settings only, and no value is read back from the
device: `views` compiles whole.
All randomness of a crop comes from (seed, step, place in the batch): a resumed run sees the images of the uninterrupted
one, and several processes together see those of one.

Letters in shapes: B images, V crops of each, S side of the stored square, O side of a crop.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ortholib.encoders.preprocess import normalise
from ortholib.errors import UsageError

TRIES = 10  # candidate windows per crop, as in torchvision's RandomResizedCrop
THRESHOLD = 128  # grey level from which solarization inverts
TRUNCATE = 4  # blur kernels end at this many of the largest sigma, at the same pixel for every image
STREAM = 0xD1  # keeps these random numbers apart from others drawn from (seed, step)


@dataclass(frozen=True)
class Crops:
    """The published recipe. Sizes in px, scales as fractions of the image's area, ratios as width / height.

    flip, jitter_p, blur_p (of global crop 1, global crop 2, every local crop) and solarize_p (global crop 2) are
    probabilities. brightness, contrast: factors are uniform in 1 ± this. blur_sigma: px of the finished crop.
    rotation: degrees to either side; not in the recipe, therefore 0.
    Laterality-safe: `flip=0` keeps left and right apart, for labels or views that depend on the side.
    Raises UsageError for values that no crop can be drawn with.
    """

    global_size: int = 224
    local_size: int = 96
    locals: int = 8
    global_scale: tuple[float, float] = (0.14, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.14)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter_p: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    blur_p: tuple[float, float, float] = (1.0, 0.1, 0.5)
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize_p: float = 0.2
    rotation: float = 0.0

    def __post_init__(self):
        for name in ("global_size", "local_size"):
            if getattr(self, name) < 2:
                raise UsageError(f"{name} = {getattr(self, name)} is too small for a crop; expected 2 px or more.")
        if self.locals < 0:
            raise UsageError(f"locals = {self.locals}; expected a number of local crops, 0 or more.")
        for name, top in (("global_scale", 1), ("local_scale", 1), ("ratio", math.inf), ("blur_sigma", math.inf)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= top:
                raise UsageError(f"{name} = {(low, high)}; expected 0 < lowest <= highest <= {top}.")
        for name in ("flip", "jitter_p", "brightness", "contrast", "solarize_p", "blur_p"):
            if not all(0 <= value <= 1 for value in np.atleast_1d(getattr(self, name))):
                raise UsageError(f"{name} = {getattr(self, name)}; expected 0..1.")


class Draws(NamedTuple):
    """Random parameters, each float32 (B, V); area and ratio hold TRIES candidates, (TRIES, B, V)."""

    area: torch.Tensor  # of the crop, as a fraction of the image's
    ratio: torch.Tensor  # width / height
    x: torch.Tensor  # 0..1, from the leftmost to the rightmost place where the crop fits
    y: torch.Tensor
    mirror: torch.Tensor  # 1: flipped left to right
    brightness: torch.Tensor  # factor; 1 changes nothing
    contrast: torch.Tensor
    order: torch.Tensor  # 1: brightness before contrast
    sigma: torch.Tensor  # of the blur, px; 0: none
    solarize: torch.Tensor  # 1: inverted from THRESHOLD on
    angle: torch.Tensor  # radians

    @classmethod
    def of(cls, drawn) -> "Draws":
        """From the rows of `draw`."""
        return cls(drawn[:TRIES], drawn[TRIES : 2 * TRIES], *drawn[2 * TRIES :])


def draw(settings: Crops, images: int, seed: int, step: int) -> np.ndarray:
    """float32 (29, B, 2 + locals): the rows of `Draws`, global crops first, from (seed, step) alone.

    Drawn by numpy, because torch's generator on the CPU drops all but 32 bits of a seed, and on the host, because
    that is one small copy to the device and no wait for it.
    """
    crops, place = 2 + settings.locals, np.arange(2 + settings.locals)
    u = np.random.default_rng([seed, step, STREAM]).random((2 * TRIES + 11, images, crops), np.float32)
    low, high = np.array([settings.global_scale] * 2 + [settings.local_scale] * settings.locals, np.float32).T
    area = low + u[:TRIES] * (high - low)
    low, high = np.log(settings.ratio)
    ratio = np.exp(low + u[TRIES : 2 * TRIES] * (high - low))
    x, y, mirror, jittered, brightness, contrast, order, blurred, sigma, solarize, angle = u[2 * TRIES :]
    jittered = jittered < settings.jitter_p
    low, high = settings.blur_sigma
    rows = [
        x,
        y,
        mirror < settings.flip,
        np.where(jittered, 1 + settings.brightness * (2 * brightness - 1), 1),
        np.where(jittered, 1 + settings.contrast * (2 * contrast - 1), 1),
        order < 0.5,
        np.where(blurred < np.array(settings.blur_p)[np.minimum(place, 2)], low + sigma * (high - low), 0),
        (solarize < settings.solarize_p) & (place == 1),
        np.deg2rad(settings.rotation) * (2 * angle - 1),
    ]
    return np.concatenate([area, ratio, np.stack(rows)]).astype(np.float32)


def crops(
    batch: torch.Tensor, valid: torch.Tensor, settings: Crops, seed: int, step: int, part=(0, 1), render=None
) -> tuple[torch.Tensor, torch.Tensor]:
    """All crops of a batch: global ones float32 (2 B, 1, G, G) and local ones (locals B, 1, L, L), normalised.

    batch: uint8 (B, S, S). valid: (B, 4), x0 y0 x1 y1 of the image inside its square, on the same device; crops never
    reach beyond it. Order: crop 1 of all images, then crop 2 of all images, and so on.
    part: (r, R) where the batch is the r-th of R equal parts of a larger one, as on the r-th of R processes.
    render: a compiled `views`; None means `views` itself.
    Raises UsageError for other shapes or types.
    """
    if batch.dtype != torch.uint8 or batch.ndim != 3 or batch.shape[1] != batch.shape[2]:
        raise UsageError(f"a batch of {batch.dtype} {tuple(batch.shape)} cannot be cropped; expected uint8 (B, S, S).")
    if valid.shape != (len(batch), 4):
        raise UsageError(f"valid boxes of shape {tuple(valid.shape)}; expected ({len(batch)}, 4), one per image.")
    place, parts = part
    drawn = draw(settings, parts * len(batch), seed, step)[:, place * len(batch) : (place + 1) * len(batch)]
    drawn = torch.from_numpy(np.ascontiguousarray(drawn))
    if batch.device.type == "cuda":
        drawn = drawn.pin_memory().to(batch.device, non_blocking=True)
    return (render or views)(batch, valid, drawn, settings)


def views(
    batch: torch.Tensor, valid: torch.Tensor, drawn: torch.Tensor, settings: Crops
) -> tuple[torch.Tensor, torch.Tensor]:
    """`crops` for given random parameters, the result of `draw` on the batch's device. Pure, for torch.compile."""
    parts = []
    for first, last, size, scale in (
        (0, 2, settings.global_size, settings.global_scale[1]),
        (2, 2 + settings.locals, settings.local_size, settings.local_scale[1]),
    ):
        draws = Draws.of(drawn[..., first:last])
        if first == last:
            parts.append(torch.empty(0, 1, size, size, device=batch.device))
            continue
        reach = longest(batch.shape[-1], scale, settings.ratio)
        images = resized(batch, *windows(valid, draws, settings.ratio), draws.mirror, size, reach)
        if settings.rotation:
            images = rotated(images, draws.angle)
        images = jittered(images, draws.brightness, draws.contrast, draws.order)
        images = blurred(images, draws.sigma, math.ceil(TRUNCATE * settings.blur_sigma[1]))
        if first == 0:
            images[:, 1] = solarized(images[:, 1], draws.solarize[:, 1])
        parts.append(normalise(images.transpose(0, 1).flatten(0, 1)))
    return parts[0], parts[1]


def windows(valid: torch.Tensor, draws: Draws, ratio: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each crop begins and how far it goes: two float32 (2, B, V), x then y, whole px of the square.

    The rule of torchvision's RandomResizedCrop, applied to the valid box: the first of TRIES candidates that fits, at a
    random place; where none fits, as happens in narrow boxes, the largest central window of an allowed ratio.
    torchvision draws a candidate when the one before did not fit; here all are drawn at once, so that shapes are fixed.
    No window is below one pixel, and an empty box counts as one.
    """
    x0, y0, x1, y1 = valid.float().T[..., None]
    width, height = (x1 - x0).clamp(min=1), (y1 - y0).clamp(min=1)
    area = draws.area * width * height
    w, h = ((area * r).sqrt().round().clamp(min=1) for r in (draws.ratio, 1 / draws.ratio))
    fits = (w <= width) & (h <= height)
    first = fits.int().argmax(0, keepdim=True)
    w, h = w.gather(0, first)[0], h.gather(0, first)[0]
    x = torch.minimum((draws.x * (width - w + 1)).floor(), width - w)
    y = torch.minimum((draws.y * (height - h + 1)).floor(), height - h)
    widest = torch.minimum(width, (height * ratio[1]).round().clamp(min=1))
    highest = torch.minimum(height, (width / ratio[0]).round().clamp(min=1))
    found = fits.any(0)
    w, h = torch.where(found, w, widest), torch.where(found, h, highest)
    x = torch.where(found, x, ((width - w) / 2).floor())
    y = torch.where(found, y, ((height - h) / 2).floor())
    return torch.stack([x + x0, y + y0]), torch.stack([w, h])


def longest(side: int, scale: float, ratio: tuple[float, float]) -> int:
    """No window of `windows` in a square of this side, for areas up to `scale`, is longer than this, px."""
    stretch = max(ratio[1], 1 / ratio[0])
    # first: a candidate; second: the central window of a box so narrow that a candidate can fail to fit
    share = max(math.sqrt(scale * stretch), scale * stretch**2)
    return min(side, math.ceil(side * share) + 1)


def resized(
    batch: torch.Tensor, start: torch.Tensor, length: torch.Tensor, mirror: torch.Tensor, size: int, reach: int
) -> torch.Tensor:
    """Windows of uint8 (B, S, S) as float32 (B, V, O, O) in grey levels: what Pillow's crop and bicubic resize give.

    start, length: (2, B, V), x then y, whole px; no length is above `reach`. x is resized first, and both passes end in
    whole levels 0..255, as in the Pillow of the published recipe (Pillow 13 begins with y where that costs less).
    Half precision holds such values exactly, so that on a GPU the products run in it.
    """
    side, dtype = batch.shape[-1], torch.float16 if batch.is_cuda else torch.float32
    top = start[1].clamp(max=side - reach)
    line = top.long()[..., None] + torch.arange(reach, device=batch.device)
    line = line + side * torch.arange(len(batch), device=batch.device)[:, None, None]
    bands = batch.flatten(0, 1).index_select(0, line.flatten()).to(dtype).view(*line.shape, side)
    along_x = filters(start[0], length[0], size, side, dtype, mirror)
    along_y = filters(start[1] - top, length[1], size, reach, dtype)
    return _levels(along_y @ _levels(bands @ along_x.mT)).float()


def filters(
    start: torch.Tensor,
    length: torch.Tensor,
    size: int,
    side: int,
    dtype: torch.dtype,
    mirror: torch.Tensor | None = None,
    bounds: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """(B, V, O, S) weights that resize start..start + length of S pixels to O: antialiased bicubic, a = -1/2.

    start, length: (B, V) px, whole or not, length up to S. mirror: (B, V), 1 for results in reverse order.
    bounds: pixels used, from and to; None means those of the window (Pillow: `crop`, then `resize`), 0 and S mean all
    (`resize(box=…)`). Pixels beyond them have no weight, and the weights of each result sum to 1.
    Computed in float64: rounding to grey levels would show the error of float32 positions.
    """
    start, length = start.double()[..., None], length.double()[..., None]
    low, high = (start, start + length) if bounds is None else (bound.double()[..., None] for bound in bounds)
    step = length / size
    spread = step.clamp(min=1)
    place = torch.arange(size, device=start.device)
    centre = start + (place + 0.5) * step
    first = torch.maximum((centre - 2 * spread + 0.5).floor(), low)
    taps = math.ceil(4 * max(side / size, 1)) + 1
    pixel = first[..., None] + torch.arange(taps, device=start.device)
    weight = cubic((pixel + 0.5 - centre[..., None]) / spread[..., None]) * (pixel < high[..., None])
    weight = weight / weight.sum(-1, keepdim=True)
    row = place.expand(first.shape)
    if mirror is not None:
        row = torch.where(mirror[..., None] > 0, size - 1 - row, row)
    # taps that run over the last pixel, all of weight 0, land in columns that are cut off again
    columns = side + taps + -(side + taps) % 8
    index = (row * columns)[..., None] + pixel.long()
    dense = torch.zeros(*first.shape[:-1], size * columns, dtype=dtype, device=start.device)
    dense.scatter_(-1, index.flatten(-2), weight.to(dtype).flatten(-2))
    return dense.unflatten(-1, (size, columns))[..., :side]


def cubic(x: torch.Tensor) -> torch.Tensor:
    """Keys' cubic convolution kernel with a = -1/2, the one of Pillow's BICUBIC; 0 outside ±2."""
    x = x.abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _levels(images: torch.Tensor) -> torch.Tensor:
    """In place: to the nearest whole level 0..255, halves upwards."""
    return images.add_(0.5).floor_().clamp_(0, 255)


def rotated(images: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """(B, V, O, O) turned about the centre by angle (B, V), radians: bilinear, corners filled from the border."""
    flat, angle = images.flatten(0, 1)[:, None], angle.flatten()
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    theta = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, flat.shape, align_corners=False)
    return F.grid_sample(flat, grid, padding_mode="border", align_corners=False).view_as(images)


def jittered(
    images: torch.Tensor, brightness: torch.Tensor, contrast: torch.Tensor, order: torch.Tensor
) -> torch.Tensor:
    """Brightness and contrast as torchvision's ColorJitter, in random order, on (B, V, O, O) grey levels, in place.

    Brightness multiplies; contrast pulls towards the image's own mean; each ends between 0 and 255. Without rounding:
    Pillow drops fractions of a level here.
    """
    for bright in (order > 0, order == 0):
        factor = torch.where(bright, brightness, contrast)[..., None, None]
        towards = images.mean((-2, -1), keepdim=True) * ~bright[..., None, None]
        images = images.mul_(factor).add_((1 - factor) * towards).clamp_(0, 255)
    return images


def blurred(images: torch.Tensor, sigma: torch.Tensor, radius: int) -> torch.Tensor:
    """Gaussian blur of (B, V, O, O) by sigma (B, V) px, 0 for none; the kernel ends at `radius` px on either side.

    Exact where Pillow's filter, that of the published code, stands for the Gaussian by three box filters (they differ
    by less than 1 level on average on noise). Borders repeat their last pixel; Pillow does so in each of its passes.
    A convolution with one group per crop: on a CPU three times as fast as products with banded matrices. Where a GPU
    convolves in TF32, results are off by up to 0.1 levels.
    """
    offset = torch.arange(-radius, radius + 1, device=images.device)
    # at 0.05 px all but the middle weight are 0 in float32
    kernel = torch.exp(-0.5 * (offset / sigma.flatten().clamp(min=0.05)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, None, None]  # (B V, 1, 1, taps)
    padded = F.pad(images.flatten(0, 1)[None], (radius,) * 4, mode="replicate")
    along_x = F.conv2d(padded, kernel, groups=len(kernel))
    return F.conv2d(along_x, kernel.mT, groups=len(kernel))[0].view_as(images)


def solarized(images: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """(…, O, O) with levels from THRESHOLD on replaced by 255 - level where chosen (…) is 1."""
    return torch.where((images >= THRESHOLD) & (chosen[..., None, None] > 0), 255 - images, images)
