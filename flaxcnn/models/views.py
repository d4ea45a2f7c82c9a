"""Test-time augmentation: a model's outputs as the mean over several views of each image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from flaxcnn.adapters import Adapted, FlaxModule

Views: TypeAlias = Literal["none", "flip", "ten"]

_CROP = 7 / 8  # of each side; 224 of 256 pixels in the source


def views_of(images_BHWC: jax.Array, views: Views) -> jax.Array:
    """Return views of images, (V, B, H, W, C); the first one is the images themselves, or their middle.

    Args:
        images_BHWC: float images, (B, H, W, C).
        views: flip: as they are, and mirrored. ten: the middle and the four corners, crops of 7/8 of each side that
            are scaled back (bilinear), and these mirrored.

    Source of ten: A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet Classification with Deep Convolutional Neural
    Networks", NIPS 2012, section 4.1.
    """
    batch, height, width, channels = images_BHWC.shape
    found = [images_BHWC]
    if views == "ten":
        rows, columns = max(1, round(_CROP * height)), max(1, round(_CROP * width))
        down, right = height - rows, width - columns
        places = [(down // 2, right // 2), (0, 0), (0, right), (down, 0), (down, right)]
        crops = [images_BHWC[:, top : top + rows, left : left + columns] for top, left in places]
        found = [jax.image.resize(crop, (batch, height, width, channels), "bilinear") for crop in crops]
    return jnp.stack([*found, *(view[:, :, ::-1] for view in found)])


@dataclass(frozen=True)
class OverViews(Adapted):
    """A model whose outputs in evaluation are the mean over views of each image; its variables are the model's.

    Attributes:
        model: the model.
        views: which views, "flip" or "ten" (`views_of`).
    """

    model: FlaxModule
    views: Views

    @property
    def definition(self) -> Any:
        """The model's class."""
        return self.model.definition if isinstance(self.model, Adapted) else type(self.model)

    @property
    def classes(self) -> Any:
        """The model's number of outputs."""
        return getattr(self.model, "classes", None)

    @property
    def call(self) -> Callable[..., Any]:
        """The function that computes the model's outputs."""
        call: Callable[..., Any] = self.model.call if isinstance(self.model, Adapted) else type(self.model).__call__
        return call

    def clone(self, *, classes: int) -> Self:
        """Return it with another number of outputs."""
        return type(self)(self.model.clone(classes=classes), self.views)

    def init_with_output(self, key: jax.Array, images: jax.Array) -> tuple[tuple[Any, Mapping[str, Any]], Any]:
        """Return the model's (outputs, endpoints) for the images alone, and its initial variables."""
        result, variables = self.model.init_with_output(key, images)
        return result, variables

    def apply(
        self,
        variables: Mapping[str, Any],
        images: jax.Array,
        *,
        train: bool = False,
        mutable: Any = False,
        rngs: Mapping[str, jax.Array] | None = None,
        **options: Any,
    ) -> Any:
        """Return the mean of the outputs over the views, and no endpoints; in training, what the model returns."""
        options["rngs"] = None if rngs is None else dict(rngs)
        if train or mutable is not False:
            return self.model.apply(variables, images, train=train, mutable=mutable, **options)

        def outputs(view: jax.Array) -> Any:
            return self.model.apply(variables, view, train=False, **options)[0]

        each = lax.map(outputs, views_of(images, self.views))  # one after the other: the memory of one
        return jax.tree.map(lambda array: jnp.mean(array, axis=0), each), {}


def over_views(model: FlaxModule, views: Views) -> FlaxModule:
    """Return the model over some views; the model itself for "none"."""
    return model if views == "none" else OverViews(model, views)
