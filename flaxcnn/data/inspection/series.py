"""Find series of nearly equal neighbours in the order of the files: recording sessions, bursts, frames of a video.

They belong together. Where no groups say so, the test split is drawn from the same series as the training images.
"""

import numpy as np
import numpy.typing as npt

from flaxcnn.data.inspection.examples import Examples
from flaxcnn.data.inspection.perceptual import similarity, usual_similarity
from flaxcnn.data.inspection.signatures import Signatures

SERIES = 0.9
"""Similarity from which on two neighbours are of one series, at the least.

The neighbours have to close 90 % of what separates two images drawn at random, too: frames of a fixed camera all
resemble each other, those of one session resemble each other more. Of 648 frames of 54 recording sessions, 637 are
found in 54 series, of which one has two sessions.
"""

_CLOSER = 0.1
_TONES = 8.0  # gray levels: the root of the mean square of the difference of the tones, at most
_LEAST = 3  # images of a series


def find_series(examples: Examples, signed: Signatures) -> list[npt.NDArray[np.int64]]:
    """Return the series of at least three images, as numbers of examples, in the order of the files."""
    needed = max(SERIES, 1 - _CLOSER * (1 - usual_similarity(signed)))
    found = []
    for _, numbers in examples.in_file_order():
        before, after = numbers[:-1], numbers[1:]
        similarities, _ = similarity(signed, before, after)
        differences = signed.tones[after].astype(np.float32) - signed.tones[before]
        tones = np.sqrt(np.mean(differences**2, axis=(1, 2, 3)))
        breaks = np.flatnonzero((similarities < needed) | (tones > _TONES)) + 1
        found += [part for part in np.split(numbers, breaks) if len(part) >= _LEAST]
    return found
