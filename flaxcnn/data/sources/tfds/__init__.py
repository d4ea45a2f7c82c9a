"""Data sets that TensorFlow Datasets (TFDS) has prepared on disk, read without TensorFlow, TFDS or their code.

Only the array_record format can be read without TensorFlow. Preparing a set may take TensorFlow, a download and hours,
so that is a command for the user to give, never something that happens here; what is missing ends in an error with that
command. A prepared set may come from anybody: nothing in it names what is imported or run, and each of its numbers is
checked before memory is taken for it.
"""

from flaxcnn.data.sources.tfds.prepared import RecordImages, load_prepared

__all__ = ["RecordImages", "load_prepared"]
