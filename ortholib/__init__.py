"""A small, tested library behind the notebooks: data, pixels, training, metrics, figures."""

__version__ = "0.1.0"
