"""Multi-crop augmentation against independent answers: Pillow, torchvision, scipy, plain formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, stats
from torchvision.transforms import RandomResizedCrop, functional

from ortholib.dino import augment
from ortholib.dino.augment import Crops, Draws, blurred, crops, draw, filters, jittered, resized, solarized, views
from ortholib.encoders.preprocess import MEAN, STD
from ortholib.errors import UsageError

BICUBIC = Image.Resampling.BICUBIC
SMALL = Crops(global_size=32, local_size=16, locals=3)
PLAIN = Crops(global_size=32, local_size=16, locals=3, flip=0, jitter_p=0, blur_p=(0, 0, 0), solarize_p=0)


def noise(n: int, side: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(side).integers(0, 256, (n, side, side), np.uint8))


def whole(batch: torch.Tensor) -> torch.Tensor:
    side = batch.shape[-1]
    return torch.tensor([[0, 0, side, side]] * len(batch), dtype=torch.int16)


def levels(images: torch.Tensor) -> torch.Tensor:
    return (images * STD + MEAN) * 255


def one(value: float) -> torch.Tensor:
    return torch.tensor([[value]], dtype=torch.float32)


def assert_same_levels(got: np.ndarray, expected: np.ndarray):
    difference = np.abs(got.astype(int) - expected.astype(int))
    assert difference.max() <= 1 and (difference == 0).mean() >= 0.999


def box_tensors(box) -> tuple[torch.Tensor, torch.Tensor]:
    x0, y0, x1, y1 = box
    start, length = torch.tensor([x0, y0], dtype=torch.float64), torch.tensor([x1 - x0, y1 - y0], dtype=torch.float64)
    return start.view(2, 1, 1), length.view(2, 1, 1)


@pytest.mark.parametrize("size", [24, 96, 224])
@pytest.mark.parametrize("box", [(0, 0, 160, 160), (3, 40, 51, 144), (120, 100, 160, 131), (0, 7, 160, 19)])
def test_crop_is_pillows_crop_then_resize(size, box):
    batch = noise(1, 160)
    got = resized(batch, *box_tensors(box), one(0), size, 160)[0, 0].numpy()
    window = Image.fromarray(batch[0].numpy()).crop(box)
    # in two calls: Pillow 13 would begin with y where that costs less
    expected = window.resize((size, window.height), BICUBIC).resize((size, size), BICUBIC)
    assert_same_levels(got, np.asarray(expected))
    if box[2] - box[0] >= box[3] - box[1]:
        assert_same_levels(got, np.asarray(window.resize((size, size), BICUBIC)))


@pytest.mark.parametrize("size", [24, 96, 224])
@pytest.mark.parametrize("box", [(0, 0, 160, 160), (3.25, 40.7, 51.5, 144.1), (100.9, 99.9, 159.3, 160)])
def test_filters_of_fractional_boxes_are_pillows(size, box):
    """Pillow's `resize(box=…)` also reads pixels beyond the box."""
    image = noise(1, 160)[0]
    start, length = box_tensors(box)
    bounds = (torch.zeros(1, 1), torch.full((1, 1), 160))
    along = [filters(s, n, size, 160, torch.float32, bounds=bounds)[0, 0] for s, n in zip(start, length, strict=True)]
    got = augment._levels(along[1] @ augment._levels(image.float() @ along[0].T)).numpy()
    expected = Image.fromarray(image.numpy()).resize((size, 160), BICUBIC, box=(box[0], 0, box[2], 160))
    expected = expected.resize((size, size), BICUBIC, box=(0, box[1], size, box[3]))
    assert_same_levels(got, np.asarray(expected))


def test_half_precision_filters_cost_at_most_one_level():
    image = noise(1, 160)[0]
    start, length = box_tensors((3, 9, 131, 155))
    along = [filters(s, n, 96, 160, torch.float16)[0, 0].float() for s, n in zip(start, length, strict=True)]
    got = augment._levels(along[1] @ augment._levels(image.float() @ along[0].T))
    exact = resized(image[None], start, length, one(0), 96, 160)[0, 0]
    assert (got - exact).abs().max() <= 1 and (got == exact).float().mean() > 0.9


def test_flip_is_exact():
    batch = noise(2, 64)
    start, length = torch.tensor([3.0, 5.0]).view(2, 1, 1).expand(2, 2, 1), torch.full((2, 2, 1), 47.0)
    plain = resized(batch, start, length, torch.zeros(2, 1), 32, 50)
    mirrored = resized(batch, start, length, torch.tensor([[1.0], [0.0]]), 32, 50)
    assert torch.equal(mirrored[0], plain[0].flip(-1)) and torch.equal(mirrored[1], plain[1])


@pytest.mark.parametrize("brightness, contrast, order", [(1.4, 0.6, 1), (0.6, 1.4, 0), (1.3, 1.3, 1), (1, 1, 0)])
def test_jitter_is_the_formula_and_pillows(brightness, contrast, order):
    image = noise(1, 64)[0].numpy()
    expected, pillow = image.astype(np.float64), Image.fromarray(image)
    for name in ("brightness", "contrast") if order else ("contrast", "brightness"):
        if name == "brightness":
            expected, pillow = (
                np.clip(expected * brightness, 0, 255),
                ImageEnhance.Brightness(pillow).enhance(brightness),
            )
        else:
            expected = np.clip(contrast * expected + (1 - contrast) * expected.mean(), 0, 255)
            pillow = ImageEnhance.Contrast(pillow).enhance(contrast)
    images = torch.from_numpy(image).float()[None, None]
    got = jittered(images, one(brightness), one(contrast), one(order))[0, 0].numpy()
    assert np.abs(got - expected).max() < 1e-3
    # Pillow rounds the mean and drops fractions, twice
    assert np.abs(got - np.asarray(pillow)).max() < 3


def test_solarize_is_pillows():
    batch = noise(2, 64)
    got = solarized(batch.float()[:, None], torch.tensor([[1.0], [0.0]])).numpy()
    assert np.array_equal(got[0, 0], np.asarray(ImageOps.solarize(Image.fromarray(batch[0].numpy()), 128)))
    assert np.array_equal(got[1, 0], batch[1].numpy())


@pytest.mark.parametrize("size", [5, 16, 96])
def test_blur_is_the_exact_gaussian(size):
    sigma = torch.tensor([[0.0, 0.1, 0.7, 1.3, 2.0]])
    images = noise(5, size).float()[None]
    got = blurred(images, sigma, 8)[0].numpy()
    for image, result, width in zip(images[0].double().numpy(), got, sigma[0].tolist(), strict=True):
        expected = ndimage.gaussian_filter(image, width, radius=8, mode="nearest") if width else image
        assert np.abs(result - expected).max() <= 1e-4
    assert np.array_equal(got[0], images[0, 0].numpy())


@pytest.mark.parametrize("width, height", [(256, 256), (110, 256), (256, 60)])
@pytest.mark.parametrize("settings", [Crops(), Crops(global_scale=(0.05, 0.14), local_scale=(0.3, 1))])
def test_windows_are_distributed_as_torchvisions(width, height, settings):
    """Area, ratio and place of both kinds of crop; narrow boxes also take the way where no candidate fits."""
    n = 3000
    torch.manual_seed(0)
    drawn = torch.from_numpy(draw(settings, n, 0, 0))
    valid = torch.tensor([[0, 0, width, height]] * n, dtype=torch.int16)
    image = torch.empty(1, height, width)
    for columns, scale in ((drawn[..., :1], settings.global_scale), (drawn[..., 2:3], settings.local_scale)):
        draws = Draws.of(columns)
        start, length = (t[..., 0].double().numpy() for t in augment.windows(valid, draws, settings.ratio))
        params = [RandomResizedCrop.get_params(image, scale, settings.ratio) for _ in range(n)]
        y, x, h, w = np.array(params).T
        for ours, theirs in ((length.prod(0), w * h), (length[0] / length[1], w / h), (start[0], x), (start[1], y)):
            assert stats.ks_2samp(ours, theirs, method="asymp").pvalue > 1e-4


@pytest.mark.parametrize("scale", [(0.05, 0.14), (0.001, 0.002), (0.3, 0.5), (1, 1)])
@pytest.mark.parametrize("ratio", [(3 / 4, 4 / 3), (1, 3), (1, 1)])
def test_crops_lie_inside_the_image_and_never_show_padding(scale, ratio):
    settings = replace(PLAIN, local_scale=scale, ratio=ratio)
    rng = np.random.default_rng(0)
    size = rng.integers(1, 65, (400, 2))
    corner = rng.integers(0, 65 - size)
    valid = torch.from_numpy(np.hstack([corner, corner + size])).to(torch.int16)
    drawn = torch.from_numpy(draw(settings, 400, 0, 0))
    for columns, top in ((drawn[..., :2], settings.global_scale[1]), (drawn[..., 2:], scale[1])):
        start, length = augment.windows(valid, Draws.of(columns), ratio)
        assert torch.equal(start, start.round()) and torch.equal(length, length.round())
        assert length.min() >= 1 and length.max() <= augment.longest(64, top, ratio)
        low, high = valid.T[:2, :, None], valid.T[2:, :, None]
        assert (start >= low).all() and (start + length <= high).all()
    batch = torch.zeros(400, 64, 64, dtype=torch.uint8)
    for image, (x0, y0, x1, y1) in zip(batch, valid.tolist(), strict=True):
        image[y0:y1, x0:x1] = 200
    for images in views(batch, valid, drawn, settings):
        assert torch.allclose(levels(images), torch.tensor(200.0), atol=1e-3)


def test_an_image_that_could_not_be_read_gives_black_crops():
    for images in crops(torch.zeros(2, 64, 64, dtype=torch.uint8), torch.zeros(2, 4, dtype=torch.int16), PLAIN, 0, 0):
        assert torch.allclose(levels(images), torch.tensor(0.0), atol=1e-3)


def test_randomness_is_of_seed_step_and_place_only():
    batch = noise(1, 64).expand(4, -1, -1)
    valid = whole(batch)
    first, again = (torch.cat([v.flatten() for v in crops(batch, valid, SMALL, 5, 6)]) for _ in range(2))
    assert torch.equal(first, again)
    for other in ((4, 6), (5, 7), (5, 6, (1, 2))):
        assert not torch.equal(first, torch.cat([v.flatten() for v in crops(batch, valid, SMALL, *other)]))
    halves = [crops(batch[:2], valid[:2], SMALL, 5, 6, (place, 2)) for place in (0, 1)]
    for got, half, other in zip(crops(batch, valid, SMALL, 5, 6), *halves, strict=True):
        parts = [images.unflatten(0, (-1, 2)) for images in (half, other)]  # views of two images each
        assert torch.equal(torch.cat(parts, 1).flatten(0, 1), got)
    for images in crops(batch, valid, SMALL, 5, 6):  # one image four times: every crop differs
        assert len(images.flatten(1).unique(dim=0)) == len(images)


def test_shapes_types_and_order():
    grey = torch.tensor([10, 90, 170], dtype=torch.uint8)
    batch = grey[:, None, None].expand(-1, 64, 64)
    large, small = crops(batch, whole(batch), PLAIN, 0, 0)
    assert large.shape == (6, 1, 32, 32) and small.shape == (9, 1, 16, 16)
    assert large.dtype == small.dtype == torch.float32
    assert torch.allclose(levels(large)[:, 0, 0, 0], grey.float().repeat(2), atol=1e-3)
    assert torch.allclose(levels(small)[:, 0, 0, 0], grey.float().repeat(3), atol=1e-3)
    none = crops(batch, whole(batch), Crops(global_size=32, local_size=16, locals=0), 0, 0)[1]
    assert none.shape == (0, 1, 16, 16)


def test_probabilities_and_ranges_are_those_of_the_settings():
    settings = Crops()
    n = 20_000
    drawn = Draws.of(draw(settings, n, 0, 0))
    assert drawn.solarize.mean(0) == pytest.approx([0, 0.2] + [0] * 8, abs=0.015)
    assert drawn.mirror.mean(0) == pytest.approx([0.5] * 10, abs=0.015)
    assert (drawn.sigma > 0).mean(0) == pytest.approx([1, 0.1] + [0.5] * 8, abs=0.015)
    assert (drawn.brightness != 1).mean(0) == pytest.approx([0.8] * 10, abs=0.015)
    assert drawn.order.mean() == pytest.approx(0.5, abs=0.01)
    for factor in (drawn.brightness, drawn.contrast):
        assert (
            factor.min() >= 0.6 and factor.max() <= 1.4 and factor.std() == pytest.approx(0.8**0.5 * 0.4 / 3**0.5, 0.02)
        )
    sigma = drawn.sigma[drawn.sigma > 0]
    assert stats.kstest(sigma, stats.uniform(0.1, 1.9).cdf).statistic < 0.01
    assert not drawn.angle.any()
    assert not Draws.of(draw(Crops(flip=0), n, 0, 0)).mirror.any()


def test_no_flip_keeps_the_sides_apart():
    batch = torch.arange(64, dtype=torch.uint8).expand(8, 64, 64).contiguous()  # grows to the right
    images = crops(batch, whole(batch), replace(SMALL, flip=0, solarize_p=0), 0, 0)
    assert all((v[..., -1] > v[..., 0]).all() for v in images)


def test_rotation_matches_scipy():
    smooth = torch.from_numpy(ndimage.gaussian_filter(noise(1, 33)[0].double().numpy(), 2)).float()
    got = augment.rotated(smooth[None, None], one(np.deg2rad(15)))[0, 0].numpy()
    expected = ndimage.rotate(smooth.double().numpy(), 15, reshape=False, order=1, mode="nearest")
    assert np.abs(got - expected)[6:-6, 6:-6].max() < 0.01
    batch = noise(2, 64)
    turned, upright = (crops(batch, whole(batch), Crops(32, 16, 1, rotation=r), 0, 0)[0] for r in (10, 0))
    assert turned.shape == upright.shape and not torch.equal(turned, upright)


def test_whole_chain_is_any_channel_of_torchvisions_three_channel_chain():
    """Replicated image, all of the recipe's steps, colour ones included; in float after the crop, so that no fraction
    of a level is dropped. Borders are left out: torchvision's blur mirrors them."""
    settings = Crops(96, 48, 1, jitter_p=1, blur_p=(1, 1, 1), solarize_p=1)
    smooth = ndimage.gaussian_filter(noise(3, 128).numpy().astype(float), (0, 4, 4))
    batch = torch.from_numpy(smooth * 4 - 382).clamp(0, 255).byte()
    drawn = torch.from_numpy(draw(settings, 3, 0, 0))
    got = levels(views(batch, whole(batch), drawn, settings)[0])[:, 0]
    draws = Draws.of(drawn)
    start, length = augment.windows(whole(batch), draws, settings.ratio)
    for view, i in np.ndindex(2, 3):
        (x, y), (w, h) = start[:, i, view].int().tolist(), length[:, i, view].int().tolist()
        window = Image.fromarray(batch[i].numpy()).convert("RGB").crop((x, y, x + w, y + h))
        image = functional.to_tensor(window.resize((96, h), BICUBIC).resize((96, 96), BICUBIC))
        image = functional.hflip(image) if draws.mirror[i, view] else image
        steps = [functional.adjust_brightness, functional.adjust_contrast]
        factors = [float(draws.brightness[i, view]), float(draws.contrast[i, view])]
        for k in (0, 1) if draws.order[i, view] else (1, 0):
            image = steps[k](image, factors[k])
        image = functional.adjust_hue(functional.adjust_saturation(image, 1.2), 0.1)
        image = functional.rgb_to_grayscale(image, 3)
        image = functional.gaussian_blur(image, 17, float(draws.sigma[i, view]))
        certain = torch.ones(96, 96, dtype=bool)
        if view == 1:
            certain = (image[0] - 128 / 255).abs() > 0.2 / 255
            image = functional.solarize(image, 128 / 255)
        certain[:8], certain[-8:], certain[:, :8], certain[:, -8:] = False, False, False, False
        for channel in image * 255:
            difference = (got[view * 3 + i] - channel)[certain].abs()
            # few pixels, that the crop rounded to the next level, times 1.4 twice
            assert len(difference) > 6000 and difference.max() < 2 and (difference < 0.1).float().mean() > 0.99


def test_compiles_whole():
    """No graph break, no branch on values, and the result of the compiled function is the same."""
    batch = noise(2, 40)
    torch._dynamo.reset()  # of what other tests compiled
    compiled = torch.compile(views, fullgraph=True, backend="eager")
    plain = crops(batch, whole(batch), SMALL, 0, 0)
    for got, expected in zip(crops(batch, whole(batch), SMALL, 0, 0, render=compiled), plain, strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"local_size": 1}, "local_size = 1"),
        ({"locals": -1}, "locals = -1"),
        ({"global_scale": (0.5, 1.5)}, "global_scale = \\(0.5, 1.5\\)"),
        ({"ratio": (2, 1)}, "ratio = \\(2, 1\\)"),
        ({"blur_p": (1, 2, 0)}, "blur_p = \\(1, 2, 0\\)"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        Crops(**wrong)


def test_batches_of_another_form_are_refused():
    batch = noise(2, 40)
    with pytest.raises(UsageError, match="float32"):
        crops(batch.float(), whole(batch), SMALL, 0, 0)
    with pytest.raises(UsageError, match=r"\(1, 4\)"):
        crops(batch, whole(batch)[:1], SMALL, 0, 0)
