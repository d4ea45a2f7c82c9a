"""What a person sees of one image: the answer, each layer's activations as pictures, and what the answer rests on."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from flaxcnn.evaluation.pictures import outlined
from flaxcnn.explanations.explaining import explained
from flaxcnn.explanations.options import How
from flaxcnn.explanations.overlay import overlay, rgb
from flaxcnn.explanations.programs import every_activation, layers_of, spatial_endpoints
from flaxcnn.jax_settings import pinned
from flaxcnn.pages.pictures import exact_uri
from flaxcnn.prediction.trained import Trained

_CLASSES = 10  # that are named, the most probable first
_CHANNELS = 32  # of a layer that are drawn, the first ones
_SIDE = 56  # pixels of a channel, at most; larger ones are thinned out
_SMALL = 64  # pixels of a side; smaller images are covered square by square, which says more than Grad-CAM there
_ROW = 64  # numbers of a layer without rows and columns that are drawn in a row


class Looker:
    """A trained model that shows its inside, one image at a time.

    Args:
        trained: the model.
    """

    def __init__(self, trained: Trained):
        self._trained = trained
        subject, small = trained.subject, max(trained.form.image_shape[:2]) <= _SMALL
        self._names = layers_of(subject)
        # A model of the user's own may name no activation with rows and columns, which Grad-CAM needs.
        self._how = How("occlusion" if small or not spatial_endpoints(subject) else "gradcam")

    def warm(self) -> None:
        """Compile the programs, so that the first look is as fast as the next."""
        drawn = np.random.default_rng(0).integers(0, 256, self._trained.form.image_shape, np.uint8)
        self.look(drawn, explain=True)

    def look(self, pixels_HWC: npt.NDArray[np.uint8], explain: bool) -> dict[str, Any]:
        """Return the answer for an image, and pictures of it, as JSON takes them.

        Args:
            pixels_HWC: uint8, decoded as the model takes it.
            explain: whether to say what the answer rests on, which takes longer.
        """
        images, subject = pixels_HWC[None], self._trained.subject
        answer = self._trained.answers(self._trained.predictions(images), _CLASSES)[0]
        found: dict[str, Any] = {"answer": answer, "seen": exact_uri(_with_boxes(rgb(pixels_HWC), answer))}
        with pinned():
            floats = images.astype(np.float32) / np.float32(255)
            layers = every_activation(subject.model, subject.variables, floats)
        found["layers"] = [_layer(name, np.asarray(layers[name])[0]) for name in self._names]
        if explain:
            explanation = explained(subject, images, self._how)
            shown = overlay(pixels_HWC, explanation.maps[0], explanation.signed)
            found["explanation"] = {"method": self._how.method, "of": explanation.of[0], "picture": exact_uri(shown)}
        return found


def _with_boxes(pixels_HWC: npt.NDArray[np.uint8], answer: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    """Return an image with outlines of the objects that an answer names."""
    boxes = [each["box"] for each in answer.get("objects", ())]
    if not boxes:
        return pixels_HWC
    drawn = outlined(pixels_HWC[None].astype(np.float32) / 255, np.asarray(boxes)[None])[0]
    return np.round(255 * drawn).astype(np.uint8)


def _layer(name: str, array: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return an activation's name, shape and picture: its channels side by side, or its numbers row by row."""
    shape, array = list(array.shape), np.nan_to_num(array.astype(np.float32))
    if array.ndim == 3:
        step = max(1, -(-max(array.shape[:2]) // _SIDE))
        drawn = array[::step, ::step, :_CHANNELS].transpose(2, 0, 1)
        across = math.ceil(math.sqrt(2 * len(drawn)))  # twice as wide as it is high
    else:
        numbers = array.reshape(-1)
        across = min(_ROW, len(numbers))
        drawn = numbers[:, None, None]
    return {"name": name, "shape": shape, "picture": exact_uri(_sheet(_grey(drawn), across, gap=int(array.ndim == 3)))}


def _grey(channels_NHW: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return numbers as shades: black is the least of them or 0, white the most."""
    least, most = min(float(np.min(channels_NHW)), 0.0), float(np.max(channels_NHW))
    return np.round(255 * (channels_NHW - least) / ((most - least) or 1.0)).astype(np.uint8)


def _sheet(channels_NHW: npt.NDArray[np.uint8], across: int, gap: int) -> npt.NDArray[np.uint8]:
    """Return channels as one picture (H', W', 3), so many across, with blue between them."""
    count, height, width = channels_NHW.shape
    down = -(-count // across)
    size = (down * (height + gap) - gap, across * (width + gap) - gap, 3)
    sheet = np.full(size, (30, 58, 95), np.uint8)
    for place, channel in enumerate(channels_NHW):
        row, column = divmod(place, across)
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = channel[:, :, None]
    return sheet
