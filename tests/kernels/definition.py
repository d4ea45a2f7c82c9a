"""A convolution and its gradients by their definition, in NumPy's float64: what the kernels are held to."""

from itertools import product

import numpy as np


def _padded(images, padding):
    """Images with zeros around them, or cropped where the padding is negative."""
    (top, bottom), (left, right) = padding
    wide = np.pad(images, ((0, 0), *((max(low, 0), max(high, 0)) for low, high in padding), (0, 0)))
    height, width = wide.shape[1:3]
    return wide[:, max(0, -top) : height - max(0, -bottom), max(0, -left) : width - max(0, -right)]


def _taps(padded, kernel_shape, outputs_shape, strides, dilation, groups):
    """For each place of the kernel and each group: the pixels that it meets, its channels and its filters."""
    rows, columns, channels, filters = kernel_shape
    height, width = outputs_shape[1:3]
    for row, column, group in product(range(rows), range(columns), range(groups)):
        top, left = row * dilation[0], column * dilation[1]
        pixels = np.s_[
            :,
            top : top + (height - 1) * strides[0] + 1 : strides[0],
            left : left + (width - 1) * strides[1] + 1 : strides[1],
            group * channels : (group + 1) * channels,
        ]
        yield pixels, (row, column), np.s_[group * filters // groups : (group + 1) * filters // groups]


def convolution(images, kernel, strides, padding, dilation, groups):
    """Return the outputs (B, H', W', F)."""
    padded = _padded(images.astype(np.float64), padding)
    size = [
        (length - (side - 1) * factor - 1) // stride + 1
        for length, side, factor, stride in zip(padded.shape[1:3], kernel.shape, dilation, strides, strict=False)
    ]
    outputs = np.zeros((len(images), *(max(0, each) for each in size), kernel.shape[3]))
    if outputs.size:
        for pixels, place, filters in _taps(padded, kernel.shape, outputs.shape, strides, dilation, groups):
            outputs[..., filters] += padded[pixels] @ kernel[place][:, filters].astype(np.float64)
    return outputs


def gradients(images, kernel, weights, strides, padding, dilation, groups):
    """Return the gradients of images and kernel, of the outputs' sum weighted by `weights`."""
    padded = _padded(images.astype(np.float64), padding)
    weights = weights.astype(np.float64)
    of_padded, of_kernel = np.zeros_like(padded), np.zeros(kernel.shape)
    if weights.size:
        for pixels, place, filters in _taps(padded, kernel.shape, weights.shape, strides, dilation, groups):
            of_padded[pixels] += weights[..., filters] @ kernel[place][:, filters].astype(np.float64).T
            of_kernel[place][:, filters] += np.einsum("bhwc,bhwf->cf", padded[pixels], weights[..., filters])
    # Back to the images: what was padded is dropped, what was cropped has no gradient.
    (top, bottom), (left, right) = padding
    whole = np.pad(of_padded, ((0, 0), *((max(-low, 0), max(-high, 0)) for low, high in padding), (0, 0)))
    height, width = whole.shape[1:3]
    return whole[:, max(0, top) : height - max(0, bottom), max(0, left) : width - max(0, right)], of_kernel
