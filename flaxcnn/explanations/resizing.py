"""Maps of an endpoint brought to the image's size."""

import numpy as np
import numpy.typing as npt


def resized(maps_Nhw: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.float32]:
    """Return maps of another size, bilinear between the middles of cells, float32 (N, height, width).

    A map of this size is returned as it is. Outside of the outermost middles the outermost cells go on.
    """
    rows, columns = _weights(maps_Nhw.shape[1], height), _weights(maps_Nhw.shape[2], width)
    found: npt.NDArray[np.float32] = (rows @ maps_Nhw @ columns.T).astype(np.float32)
    return found


def _weights(size: int, wanted: int) -> npt.NDArray[np.float64]:
    """Return how much of each cell a pixel shows, (wanted, size); each row adds up to 1."""
    places = np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, size - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(size)))
