"""Small videos, made with PyAV."""

from fractions import Fraction

import numpy as np

SIZE = (48, 64)
NEAR = 4  # gray levels that a lossy codec may change
FORMS = {  # extension -> FFmpeg's container, encoder and pixels, and options: with frames that refer to later ones
    "mp4": ("mp4", "libx264", "yuv420p", {"bf": "2"}),
    "mkv": ("matroska", "libx264", "yuv420p", {"bf": "2"}),
    "webm": ("webm", "libvpx-vp9", "yuv420p", {}),
    "avi": ("avi", "mpeg4", "yuv420p", {"bf": "2", "qmin": "1", "qmax": "2"}),
    "mov": ("mov", "mjpeg", "yuvj420p", {}),
}


def gray(value, size=SIZE):
    return np.full((*size, 3), value, np.uint8)


def write_video(path, frames, times=None, rate=10):
    """Write frames (H, W, 3), one each 1 / rate seconds, or at these times in units of 1 / rate seconds."""
    import av  # which is not everywhere

    path.parent.mkdir(parents=True, exist_ok=True)
    form, codec, pixels, options = FORMS[path.suffix[1:]]
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for position, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts, picture.time_base = (position if times is None else times[position]), Fraction(1, rate)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path
