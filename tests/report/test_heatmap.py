"""The picture of a heat map: the radiograph as it is, the map over it in its place, words that fit."""

import drawn
import numpy as np

from ortholib.report.figures import heat_map


def test_shows_the_image_and_the_heat_where_it_is(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    heat = np.zeros((40, 60), np.float32)
    heat[30:, :10] = 1
    figure = heat_map(pixels, heat, "9000000L.png: KL 2 (confidence 0.71). What speaks for it, by Grad-CAM. " * 2)
    plain, under = figure.axes
    for ax in (plain, under):
        np.testing.assert_array_equal(ax.images[0].get_array(), pixels)
        assert ax.images[0].get_clim() == (0, 255)  # no stretch
    assert len(plain.images) == 1
    np.testing.assert_array_equal(under.images[1].get_array(), heat)
    assert under.images[1].get_clim() == (0, 1) and (under.images[1].get_alpha()[heat == 0] == 0).all()
    drawn.text_is_inside_and_apart(figure, monkeypatch)
