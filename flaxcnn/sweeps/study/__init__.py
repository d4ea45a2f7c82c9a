"""The study: a sweep's trials in a database that several processes and machines share."""

from flaxcnn.sweeps.study.records import Step
from flaxcnn.sweeps.study.storage import file_url
from flaxcnn.sweeps.study.study import LostTrialError, Study

__all__ = ["LostTrialError", "Step", "Study", "file_url"]
