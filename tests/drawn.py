"""What a figure shows, read back from it: its words, and whether each can be read."""

import functools

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def written(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]


def joined(figure) -> str:
    return "\n".join(written(figure))


def text_is_inside_and_apart(figure, monkeypatch) -> None:
    """Assert that no word leaves the figure or runs into another, and that it is at most a column wide."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    drawn = {}  # only what is drawn: an axis also holds labels of ticks outside its limits
    draw = Text.draw

    @functools.wraps(draw)
    def record(self, *args, **more):
        if self.get_text().strip() and self.get_visible():
            drawn[id(self)] = self
        return draw(self, *args, **more)

    monkeypatch.setattr(Text, "draw", record)
    figure.draw_without_rendering()
    assert drawn
    places = [(text.get_text(), text.get_window_extent(renderer)) for text in drawn.values()]
    page = figure.bbox
    for words, place in places:
        assert place.x0 >= page.x0 - 1 and place.x1 <= page.x1 + 1, f"{words!r} leaves the figure"
        assert place.y0 >= page.y0 - 1 and place.y1 <= page.y1 + 1, f"{words!r} leaves the figure"
    for index, (words, place) in enumerate(places):
        for other, elsewhere in places[index + 1 :]:
            wide = min(place.x1, elsewhere.x1) - max(place.x0, elsewhere.x0)
            high = min(place.y1, elsewhere.y1) - max(place.y0, elsewhere.y0)
            assert wide < 1 or high < 2, f"{words!r} runs into {other!r}"
    assert figure.get_figwidth() <= 7
