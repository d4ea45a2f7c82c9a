"""Data sets that TensorFlow Datasets (TFDS) prepared on disk, read without TensorFlow, TFDS or their code.

Without TensorFlow, only the array_record format can be read. Preparing a data set can take TensorFlow, a download and
hours, so it never happens here: if a data set is missing, the error names the command that prepares it. A prepared data
set is untrusted: nothing in it decides what is imported or run, and each of its numbers is checked before memory is
allocated for it.
"""

from flaxcnn.data.sources.tfds.prepared import RecordImages, load_prepared

__all__ = ["RecordImages", "load_prepared"]
