"""What a step is told beside the optimizer: values at run time, so that changing one compiles nothing new."""

import flax.struct
import jax
import jax.numpy as jnp
import optax

from flaxcnn.errors import DataError
from flaxcnn.layers.examples import check_labels, with_none_negative


@flax.struct.dataclass
class Hyperparameters:
    """Values that stand in the training state. What is None is no part of the compiled program.

    Attributes:
        label_smoothing: share of a label's weight that is spread evenly over all classes, a float32 scalar.
        dropout: rate, in place of the model's own, a float32 scalar or None.
        class_weights: factor of each class's loss, float32 (classes,) or None for 1.
        ema_decay: of the moving average of the weights, a float32 scalar or None for no average.
    """

    label_smoothing: jax.Array
    dropout: jax.Array | None = None
    class_weights: jax.Array | None = None
    ema_decay: jax.Array | None = None

    @classmethod
    def of(
        cls,
        label_smoothing: float = 0.0,
        dropout: float | None = None,
        class_weights: "jax.typing.ArrayLike | None" = None,
        ema_decay: float | None = None,
    ) -> "Hyperparameters":
        """Return numbers as the arrays that a state holds."""

        def array(value: "jax.typing.ArrayLike | None") -> jax.Array | None:
            return None if value is None else jnp.asarray(value, jnp.float32)

        return cls(jnp.asarray(label_smoothing, jnp.float32), array(dropout), array(class_weights), array(ema_decay))


def example_losses(hyperparameters: Hyperparameters, logits_BxK: jax.Array, labels_B: jax.Array) -> jax.Array:
    """Return the loss of each example, float32 (B,): softmax cross-entropy in nats with smoothed labels, weighted.

    A label's own class has the weight 1 - s + s / K and every other s / K, as `optax.smooth_labels` has it; source:
    C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, section 7. The mean over
    a batch divides by its examples, not by the sum of their class weights, so that means of parts of a batch add up.
    The loss of a label that is out of range is NaN.

    Raises:
        DataError: the labels are not one integer for each row of logits, or the class weights not one for each class.
    """
    check_labels(labels_B, logits_BxK.shape[0])
    classes = logits_BxK.shape[-1]
    logits_BxK, labels_B = logits_BxK.astype(jnp.float32), with_none_negative(labels_B, classes)
    share = hyperparameters.label_smoothing
    of_label = optax.softmax_cross_entropy_with_integer_labels(logits_BxK, labels_B)
    of_all = jax.nn.logsumexp(logits_BxK, axis=-1) - jnp.mean(logits_BxK, axis=-1)
    losses = (1 - share) * of_label + share * of_all
    weights = hyperparameters.class_weights
    if weights is not None and weights.shape != (classes,):
        raise DataError(
            "not one weight for each class", where="class_weights", expected=(classes,), found=weights.shape
        )
    return losses if weights is None else losses * weights[labels_B]
