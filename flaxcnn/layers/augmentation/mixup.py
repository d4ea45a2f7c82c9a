"""MixUp: training on weighted sums of two images, with the loss weighted in the same proportion."""

import flax.struct
import jax
import jax.numpy as jnp

from flaxcnn.layers.augmentation.protocol import Strength, require_float_pixels

_LEAST_ALPHA = 1e-6  # a share is 0 or 1 there in all but one of 10,000 draws; smaller, its logarithms overflow


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
        alpha = jnp.asarray(self.alpha, jnp.float32)
        usable = jnp.maximum(alpha, _LEAST_ALPHA)
        share = jnp.where(alpha > 0, jax.random.beta(key, usable, usable, dtype=jnp.float32), 1)
        return (share * image_HWC + (1 - share) * partner_HWC).astype(image_HWC.dtype), share


def mix(mixup: MixUp, key: jax.Array, images_BHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mix each example of a batch with the next one, and the last with the first.

    A batch is already in random order, so the next example is as good a partner as a random one. Unlike in the paper's
    code, each example has its own share. The loss of example i is share_i · loss(label_i) +
    (1 - share_i) · loss(label_{i+1}).

    Args:
        mixup: the MixUp parameters.
        key: the step's key for MixUp; an example's key follows from its position in the batch.
        images_BHWC: the batch, floating-point.

    Returns:
        The mixtures, (B, H, W, C), of the same dtype, and the shares, (B,) float32.

    Raises:
        TypeError: the pixels are not floating-point.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(images_BHWC.shape[0]))
    return jax.vmap(mixup)(keys, images_BHWC, jnp.roll(images_BHWC, -1, axis=0))
