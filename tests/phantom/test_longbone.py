"""The long bone phantom: breaks lie where the boxes say."""

from dataclasses import replace

import numpy as np
import pytest

from ortholib.phantom import longbone
from ortholib.phantom.render import chord, cone


def broken(region: str, n: int) -> list[tuple[int, longbone.LongBone]]:
    return [(i, longbone.draw_film(np.random.default_rng([1, i]), region, True)) for i in range(n)]


@pytest.mark.parametrize("region", longbone.REGIONS)
def test_boxes_lie_inside_and_on_the_fracture(region):
    for seed, film in broken(region, 6):
        # without swelling and metal a break changes the picture only near and beyond itself
        quiet = tuple(replace(f, swelling=0.0, callus=0.0) for f in film.views[0].fractures[:1])
        view = replace(film.views[0], fractures=quiet)
        film = replace(film, views=(view,), hardware=False, photons=1e9, gamma=1.0, scale=1)
        image, polygons = longbone.render(film, np.random.default_rng(seed))
        whole, none = longbone.render(replace(film, views=(replace(view, fractures=()),)), np.random.default_rng(seed))
        assert len(polygons) == 1 and none == []
        (x0, y0), (x1, y1) = polygons[0].min(axis=0), polygons[0].max(axis=0)
        width, height = film.size
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        assert min(x1 - x0, y1 - y0) > 4
        box = (slice(int(y0), int(np.ceil(y1))), slice(int(x0), int(np.ceil(x1))))
        change = np.abs(image.astype(float) - whole)
        assert change[box].max() > 8
        if quiet[0].kind == "hairline":
            outside = change.copy()
            outside[box] = 0
            assert change[box].max() > 3 * outside.max()


def test_every_region_draws_and_repeats():
    for region in longbone.REGIONS:
        film = longbone.draw_film(np.random.default_rng(0), region, False)
        a, boxes = longbone.render(film, np.random.default_rng(5))
        b, _ = longbone.render(film, np.random.default_rng(5))
        assert a.dtype == np.uint8 and a.shape == film.size[::-1] and boxes == []
        assert a.std() > 20
        np.testing.assert_array_equal(a, b)


def test_metal_stands_out():
    film = replace(longbone.draw_film(np.random.default_rng(2), "leg", True), hardware=True, scale=1)
    with_metal, _ = longbone.render(film, np.random.default_rng(0))
    without, _ = longbone.render(replace(film, hardware=False), np.random.default_rng(0))
    assert (with_metal.astype(int) - without > 25).sum() > 30
    assert with_metal[with_metal > without + 25.0].max() == 255


def test_fractured_films_have_fractures_and_unknown_regions_are_refused():
    for region in longbone.REGIONS:
        assert all(film.record()["fracture_count"] >= 1 for _, film in broken(region, 40))
    with pytest.raises(ValueError, match="expected one of"):
        longbone.draw_film(np.random.default_rng(0), "skull", False)


def test_path_lengths_are_exact_for_sphere_and_cylinder():
    x = np.linspace(-12, 12, 97)
    sphere = chord(10 - np.hypot(x, 3.0), 10.0)
    np.testing.assert_allclose(sphere, 2 * np.sqrt(np.maximum(100 - x**2 - 9, 0)), atol=1e-9)
    cylinder = chord(cone(x, np.zeros(97), (0, -50), (0, 50), 10, 10), 10.0)
    np.testing.assert_allclose(cylinder, 2 * np.sqrt(np.maximum(100 - x**2, 0)), atol=1e-9)
