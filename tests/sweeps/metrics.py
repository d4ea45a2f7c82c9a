"""What trials are ranked by, for tests that ask no task."""

from flaxcnn.sweeps.metric import RankedBy

ACCURACY = RankedBy("validation_accuracy", higher_is_better=True, fraction=True)
LOSS = RankedBy("validation_loss", higher_is_better=False)
R2 = RankedBy("validation_r2", higher_is_better=True)
ERROR_RATE = RankedBy("validation_error_rate", higher_is_better=False, fraction=True)
