"""MixUp and CutMix: training on mixtures of two images, with the loss weighted in the same proportion."""

from typing import Protocol

import flax.struct
import jax
import jax.numpy as jnp

from flaxcnn.layers.augmentation.protocol import Strength, require_float_pixels

_LEAST_ALPHA = 1e-6  # a share is 0 or 1 there in all but one of 10,000 draws; smaller, its logarithms overflow


class Mixing(Protocol):
    """A random mixture of two images: a frozen dataclass and a pytree."""

    def __call__(self, key: jax.Array, image_HWC: jax.Array, partner_HWC: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the mixture of a pair, of the image's dtype, and the share of the first image, a float32 scalar."""
        ...


@flax.struct.dataclass
class MixUp:
    """Replaces an image by share · image + (1 - share) · partner, with a share drawn from Beta(alpha, alpha).

    Source: H. Zhang, M. Cisse, Y. N. Dauphin and D. Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018
    (arXiv:1710.09412), section 2. The paper's alpha is 0.1 to 0.4 for ImageNet and 1 for CIFAR.

    Attributes:
        alpha: parameter of the Beta distribution, at least 0: small values give shares near 0 or 1, 1 gives uniform
            shares, 0 mixes nothing.
    """

    alpha: Strength

    def __call__(self, key: jax.Array, image_HWC: jax.Array, partner_HWC: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the mixture of a pair, and the share of the first image.

        Args:
            key: the example's key.
            image_HWC: the first image, floating-point.
            partner_HWC: the second image, floating-point.

        Returns:
            The mixture, (H, W, C), of the image's dtype, and the share, a float32 scalar in [0, 1].

        Raises:
            TypeError: the pixels are not floating-point.
        """
        require_float_pixels(image_HWC, "MixUp")
        share = _share(key, self.alpha)
        return (share * image_HWC + (1 - share) * partner_HWC).astype(image_HWC.dtype), share


@flax.struct.dataclass
class CutMix:
    """Replaces a window of an image by the same window of its partner; the share is the area that is left.

    A share drawn from Beta(alpha, alpha) gives the window's area, its sides being in proportion to the image's. The
    window's centre is uniform over the image, so part of the window may lie outside; the returned share counts the
    pixels.

    Source: S. Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV
    2019 (arXiv:1905.04899), section 3.1, with an alpha of 1.

    Attributes:
        alpha: parameter of the Beta distribution, at least 0; 0 mixes nothing.
    """

    alpha: Strength

    def __call__(self, key: jax.Array, image_HWC: jax.Array, partner_HWC: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the mixture of a pair, (H, W, C), and the first image's share of its area, a float32 scalar."""
        area, place = jax.random.split(key)
        extent = jnp.asarray(image_HWC.shape[:2], jnp.float32)
        # Of a uniform float32 in [0, 1) times a whole number, the floor is below that number, whatever is rounded.
        centre = jnp.floor(jax.random.uniform(place, (2,)) * extent)
        half = jnp.floor(jnp.floor(extent * jnp.sqrt(1 - _share(area, self.alpha))) / 2)
        rows, columns = (
            (jnp.arange(side) >= middle - reach) & (jnp.arange(side) < middle + reach)
            for side, middle, reach in zip(image_HWC.shape, centre, half, strict=False)
        )
        mixed = jnp.where((rows[:, None] & columns[None, :])[..., None], partner_HWC, image_HWC)
        return mixed, 1 - rows.sum() * columns.sum() / (extent[0] * extent[1])


@flax.struct.dataclass
class MixUpOrCutMix:
    """Mixes each pair by one of the two, each as likely.

    Attributes:
        mixup: the MixUp parameters.
        cutmix: the CutMix parameters.
    """

    mixup: MixUp
    cutmix: CutMix

    def __call__(self, key: jax.Array, image_HWC: jax.Array, partner_HWC: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the mixture of a pair, (H, W, C), and the share of the first image; raises as `MixUp`."""
        which, own = jax.random.split(key)
        mixtures = [mix(own, image_HWC, partner_HWC) for mix in (self.mixup, self.cutmix)]
        cuts = jax.random.bernoulli(which)
        mixed, share = (jnp.where(cuts, cut, summed) for summed, cut in zip(*mixtures, strict=True))
        return mixed, share


def _share(key: jax.Array, alpha: Strength) -> jax.Array:
    """Return a share drawn from Beta(alpha, alpha), a float32 scalar; 1 for an alpha of 0."""
    alpha = jnp.asarray(alpha, jnp.float32)
    usable = jnp.maximum(alpha, _LEAST_ALPHA)
    return jnp.where(alpha > 0, jax.random.beta(key, usable, usable, dtype=jnp.float32), 1)


def mix(mixing: Mixing, key: jax.Array, images_BHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mix each example of a batch with the next one, and the last with the first.

    A batch is already in random order, so the next example is as good a partner as a random one. Unlike in the paper's
    code, each example has its own share. The loss of example i is share_i · loss(label_i) +
    (1 - share_i) · loss(label_{i+1}).

    Args:
        mixing: the parameters of MixUp or CutMix.
        key: the step's key for mixing; an example's key follows from its position in the batch.
        images_BHWC: the batch; floating-point for MixUp.

    Returns:
        The mixtures, (B, H, W, C), of the same dtype, and the shares, (B,) float32.

    Raises:
        TypeError: the pixels are not floating-point.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(images_BHWC.shape[0]))
    return jax.vmap(mixing)(keys, images_BHWC, jnp.roll(images_BHWC, -1, axis=0))
