"""The regression task: one or several numbers per image."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from flaxcnn.data.targets import described_targets
from flaxcnn.errors import ConfigError, DataError
from flaxcnn.pages.parts import Part
from flaxcnn.tasks.arithmetic import as_json, rows_where
from flaxcnn.tasks.calibration import half_widths
from flaxcnn.tasks.regression.parts import mistakes_of, parts_of
from flaxcnn.tasks.regression.pictures import draw_predicted, draw_residuals
from flaxcnn.tasks.regression.scores import METRICS, RegressionScores
from flaxcnn.tasks.task import Interval, Mistakes, Picture, Predicted, Task, require_names


@dataclass(frozen=True)
class Regression(Task):
    """One or several numbers per image. Targets are float32 (N,), or (N, T) for several.

    The model predicts targets that are standardised with the mean and standard deviation of the training targets, which
    are saved with the weights. Predictions and errors are in the targets' original units.

    Attributes:
        loss: the loss of a standardised target: squared error, absolute error, or Huber loss.
        huber_delta: the error above which the Huber loss is linear.
    """

    loss: Literal["squared", "absolute", "huber"] = "squared"
    huber_delta: float = 1.0

    name = "regression"
    metrics = METRICS
    logged = ("r2", "rmse", "mae")
    tabled = ("r2", "rmse", "mae", "median_absolute_error")  # a relative error is nothing where a target is 0
    uses = frozenset({"mixup"})

    def __post_init__(self) -> None:
        if self.loss != "huber" and self.huber_delta != type(self).huber_delta:
            expected = f"task.loss huber, or the default {type(self).huber_delta:g}"
            raise ConfigError(
                f"the {self.loss} loss does not use it",
                where="task.huber_delta",
                expected=expected,
                found=self.huber_delta,
            )

    @property
    def reported(self) -> tuple[str, ...]:
        """Every metric; R² first."""
        return tuple(METRICS)

    @property
    def compared(self) -> tuple[str, ...]:
        """RMSE, MAE and R²."""
        return ("rmse", "mae", "r2")

    def check(self, targets: Any, names: Any, where: str) -> None:
        """Raise DataError if the targets are not finite numbers for each image."""
        if not isinstance(targets, np.ndarray) or targets.dtype != np.float32 or targets.ndim not in (1, 2):
            raise DataError(
                "not numbers for each image",
                where=f"{where} targets",
                expected="float32 (N,) or (N, T) for the task regression",
                found=described_targets(targets),
                fix="learn classes with --task classification, or name a column of numbers: --data.target NAME:number",
            )
        unusable = np.argwhere(~np.isfinite(targets))
        if unusable.size:
            found = f"{targets[tuple(unusable[0])]} at position {unusable[0][0]} ({len(unusable)} such numbers)"
            raise DataError("not finite", where=f"{where} targets", expected="finite numbers", found=found)
        if names is not None:
            require_names(names, self.outputs(targets, names), where)

    def outputs(self, targets: Any, names: Any) -> int:
        """Return the number of values per image."""
        return math.prod(targets.shape[1:])

    def described(self, targets: Any, names: Any) -> str:
        """Return "1 number an image"."""
        count = self.outputs(targets, names)
        return f"{count} {'number' if count == 1 else 'numbers'} an image"

    def constants(self, train_targets: Any) -> dict[str, np.ndarray]:
        """Return the mean and standard deviation of each value over the training images, float32 (T,)."""
        numbers = train_targets.reshape(len(train_targets), -1).astype(np.float64)
        deviation = numbers.std(0)
        deviation[deviation == 0] = 1  # constant values: avoid a division by zero
        return {"target_mean": numbers.mean(0).astype(np.float32), "target_deviation": deviation.astype(np.float32)}

    def present(self, targets: Any) -> Any:
        """Return which examples have all numbers; a missing number is NaN."""
        return rows_where(lambda numbers: numbers == numbers, targets)

    def losses(self, values: Any, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> jax.Array:
        """Return the loss on standardised targets, averaged over an example's numbers, float32 (B,).

        The Huber loss is half the squared error up to `huber_delta` (P. Huber, Annals of Mathematical Statistics 35,
        1964).
        """
        errors = outputs - _standardised(constants, targets)
        if self.loss == "absolute":
            return jnp.abs(errors).mean(-1)
        if self.loss == "huber":
            return optax.losses.huber_loss(errors, delta=self.huber_delta).mean(-1)
        return jnp.square(errors).mean(-1)

    def statistics(self, constants: Mapping[str, jax.Array], outputs: jax.Array, targets: Any) -> dict[str, jax.Array]:
        """Return the errors and targets for R², RMSE and MAE, (B, T) each.

        Squares are of standardised values, because float32 sums them accurately.
        """
        standardised = _standardised(constants, targets)
        errors = outputs - standardised
        deviation = jnp.broadcast_to(constants["target_deviation"], errors.shape)
        return {
            "squared": jnp.square(errors),
            "absolute": deviation * jnp.abs(errors),
            "scaled": jnp.square(deviation * errors),
            "target": standardised,
            "target_squared": jnp.square(standardised),
        }

    def measures(self, sums: Mapping[str, Any], examples: Any) -> dict[str, Any]:
        """Return R², RMSE and MAE, averaged over an example's numbers; R² is 0 if all targets are the same."""
        spread = sums["target_squared"] - sums["target"] ** 2 / examples
        known = spread > 1e-6 * sums["target_squared"]
        r2 = known * (1 - sums["squared"] / (spread * known + (known == 0)))
        return {
            "r2": r2.mean(),
            "rmse": ((sums["scaled"] / examples) ** 0.5).mean(),
            "mae": (sums["absolute"] / examples).mean(),
        }

    def decode(self, constants: Mapping[str, jax.Array], outputs: jax.Array) -> dict[str, jax.Array]:
        """Return the predicted numbers in the targets' units, float32 (B, T)."""
        return {"numbers": outputs * constants["target_deviation"] + constants["target_mean"]}

    def explained(self, constants: Mapping[str, jax.Array], outputs: jax.Array) -> jax.Array:
        """Return the predicted numbers in the targets' units, float32 (B, T)."""
        return self.decode(constants, outputs)["numbers"]

    def scores(self, predicted: Predicted) -> RegressionScores:
        """Return the metrics of `RegressionScores`."""
        return RegressionScores(predicted.targets, predicted.prediction("numbers"))

    def calibration(self, validation: Predicted) -> dict[str, Any]:
        """Return how far around a prediction each number lies with 90 % probability."""
        numbers_NxT = validation.prediction("numbers").astype(np.float64)
        targets_NxT = np.asarray(validation.targets, np.float64).reshape(numbers_NxT.shape)
        return {"half_width_90": half_widths(numbers_NxT - targets_NxT, 0.9)}

    def answers(self, predicted: Predicted, calibration: Mapping[str, Any], top: int) -> list[dict[str, Any]]:
        """Return each image's numbers by name, and with a calibration their 90 % intervals."""
        numbers_NxT = predicted.prediction("numbers").astype(np.float64)
        count = numbers_NxT.shape[1]
        names = self.explained_names(predicted.names, count)
        widths = calibration.get("half_width_90", [None] * count)
        found = []
        for numbers in numbers_NxT:
            ends = {
                name: [float(number - width), float(number + width)]
                for name, number, width in zip(names, numbers, widths, strict=True)
                if width is not None
            }
            answer = {"numbers": dict(zip(names, map(float, numbers), strict=True))}
            found.append({**answer, "interval_90": ends} if ends else answer)
        return found

    def explained_names(self, names: Any, count: int) -> tuple[str, ...]:
        """Return the names of the numbers; "number", or "number_1" and so on, where they have none."""
        if names:
            return tuple(names)
        return ("number",) if count == 1 else tuple(f"number_{each}" for each in range(1, count + 1))

    def chosen(self, of: str | None, names: Any, numbers_NxK: np.ndarray) -> np.ndarray:
        """Return which number is explained, int (N,): the first where none is named, as no number is the answer."""
        first = self.explained_names(names, numbers_NxK.shape[1])[0]
        return super().chosen(first if of is None else of, names, numbers_NxK)

    def report(self, predicted: Predicted) -> dict[str, Any]:
        """Return every metric, and each number's metrics if there are several."""
        found = self.scores(predicted).measure(np.ones((1, len(predicted.targets)), np.int32))
        several = found["r2_of_each"].shape[1] > 1
        values = {name: value[0].tolist() for name, value in found.items() if value.ndim == 1 or several}
        return {"numbers": predicted.names, **{name: as_json(value) for name, value in values.items()}}

    def pictures(self, predicted: Predicted) -> Iterable[Picture]:
        """Return plots of predicted against true numbers and of the residuals."""
        targets = np.asarray(predicted.targets).reshape(len(predicted.targets), -1)
        arguments = targets, predicted.prediction("numbers"), predicted.names
        yield Picture("predicted.png", partial(draw_predicted, *arguments))
        yield Picture("residuals.png", partial(draw_residuals, *arguments))

    def parts(self, test: Predicted, validation: Predicted | None, interval: Interval) -> Iterable[Part]:
        """Return predictions over true numbers, the errors, and how often the 90 % intervals hold."""
        names = self.explained_names(test.names, test.prediction("numbers").shape[1])
        return parts_of(test, validation, interval, names)

    def mistakes(self, predicted: Predicted, calibration: Mapping[str, Any], most: int) -> Sequence[Mistakes]:
        """Return the largest errors."""
        names = self.explained_names(predicted.names, predicted.prediction("numbers").shape[1])
        return (mistakes_of(predicted, names, most),)


def _standardised(constants: Mapping[str, jax.Array], targets: jax.Array) -> jax.Array:
    numbers = targets.reshape(targets.shape[0], -1)
    return (numbers - constants["target_mean"]) / constants["target_deviation"]
