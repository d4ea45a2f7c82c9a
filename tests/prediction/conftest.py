"""The run that these tests share."""

from tests.shapes_run import shapes_run

__all__ = ["shapes_run"]
