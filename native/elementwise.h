// Pooling and sums over channels-last arrays, in parts.
#pragma once

#include <cstdint>

#include "xla/ffi/api/ffi.h"

namespace flaxcnn {

// Windows of rows × columns that do not overlap, over images (N, H, W, C); incomplete ones at the end are dropped.
struct Windows {
  int64_t n, h, w, c, rows, columns;

  int64_t down() const { return h / rows; }
  int64_t across() const { return w / columns; }
};

// The maximum of each window, and, where `winners` is not null, the place of the first one in row-major order.
void max_pool(xla::ffi::ThreadPool& pool, const Windows& windows, const float* images, float* maxima, uint8_t* winners);

// Puts each window's value at its winner's place, 0 elsewhere: the gradient of `max_pool`.
void expand(xla::ffi::ThreadPool& pool, const Windows& windows, const float* values, const uint8_t* winners, float* images);

// Takes each window's value from its winner's place: the transpose of `expand`.
void select(xla::ffi::ThreadPool& pool, const Windows& windows, const float* images, const uint8_t* winners, float* values);

// Windows that may overlap and reach over the edge: `top` rows and `left` columns of padding come before the image, and any after
// it. Each window has a place in the image.
struct Sliding {
  int64_t n, h, w, c, rows, columns, step_down, step_across, top, left, down, across;
};

// As the three above.
void sliding_max(xla::ffi::ThreadPool& pool, const Sliding& windows, const float* images, float* maxima, uint8_t* winners);
void sliding_expand(xla::ffi::ThreadPool& pool, const Sliding& windows, const float* values, const uint8_t* winners,
                    float* images);
void sliding_select(xla::ffi::ThreadPool& pool, const Sliding& windows, const float* images, const uint8_t* winners,
                    float* values);

// Sums (rows, channels) over the rows.
void channel_sum(xla::ffi::ThreadPool& pool, int64_t rows, int64_t channels, const float* values, float* sums);

}  // namespace flaxcnn
