#include "elementwise.h"

#include <algorithm>
#include <cstring>

#include "parts.h"
#include "versions.h"

namespace flaxcnn {
namespace {

constexpr int64_t kRowsPerSum = 256;  // that are added before the sum is added to the part's

thread_local Buffer channel_sums;

// No kind of processor changes a bit: nothing in these loops is contracted into fused operations, and no sum is reordered.
namespace any {
#include "elementwise_rows.h"
}
#if FLAXCNN_VERSIONS
#pragma GCC push_options
#pragma GCC target("avx2")
namespace avx2 {
#include "elementwise_rows.h"
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")
namespace avx512 {
#include "elementwise_rows.h"
}
#pragma GCC pop_options
#endif

// Calls `one(row of windows, first value of the images' rows, first value of the windows)` for all, in parts.
template <typename One>
void each_row(xla::ffi::ThreadPool& pool, const Windows& s, const One& one) {
  const int64_t rows = s.n * s.down();
  const int64_t parts = elementwise_parts(s.n * s.h * s.w * s.c, rows);
  run_parts(pool, parts, [&](int64_t part) {
    for (int64_t row = rows * part / parts; row < rows * (part + 1) / parts; ++row) {
      const int64_t image = row / s.down(), y = row % s.down();
      one(y, (image * s.h + y * s.rows) * s.w * s.c, row * s.across() * s.c);
    }
  });
}

}  // namespace

void max_pool(xla::ffi::ThreadPool& pool, const Windows& s, const float* images, float* maxima, uint8_t* winners) {
  static const auto max_rows = FLAXCNN_BEST(max_rows);
  each_row(pool, s, [&](int64_t, int64_t from, int64_t to) {
    max_rows(s, images + from, maxima + to, winners ? winners + to : nullptr);
  });
}

void expand(xla::ffi::ThreadPool& pool, const Windows& s, const float* values, const uint8_t* winners, float* images) {
  static const auto expand_rows = FLAXCNN_BEST(expand_rows);
  each_row(pool, s, [&](int64_t y, int64_t to, int64_t from) {
    expand_rows(s, values + from, winners + from, images + to);
    const int64_t left = s.h - s.down() * s.rows;
    if (y == s.down() - 1 && left) std::memset(images + to + s.rows * s.w * s.c, 0, left * s.w * s.c * sizeof(float));
  });
}

void select(xla::ffi::ThreadPool& pool, const Windows& s, const float* images, const uint8_t* winners, float* values) {
  static const auto select_rows = FLAXCNN_BEST(select_rows);
  each_row(pool, s, [&](int64_t, int64_t from, int64_t to) { select_rows(s, images + from, winners + to, values + to); });
}

// Calls `one(image, row)` for all rows of all images, in parts.
template <typename One>
void each_image_row(xla::ffi::ThreadPool& pool, int64_t images, int64_t height, int64_t values, const One& one) {
  const int64_t rows = images * height, parts = elementwise_parts(values, rows);
  run_parts(pool, parts, [&](int64_t part) {
    for (int64_t row = rows * part / parts; row < rows * (part + 1) / parts; ++row) one(row / height, row % height);
  });
}

void sliding_max(xla::ffi::ThreadPool& pool, const Sliding& s, const float* images, float* maxima, uint8_t* winners) {
  static const auto sliding_max_row = FLAXCNN_BEST(sliding_max_row);
  each_image_row(pool, s.n, s.down, s.n * s.h * s.w * s.c, [&](int64_t image, int64_t y) {
    const int64_t to = (image * s.down + y) * s.across * s.c;
    sliding_max_row(s, y, images + image * s.h * s.w * s.c, maxima + to, winners ? winners + to : nullptr);
  });
}

void sliding_expand(xla::ffi::ThreadPool& pool, const Sliding& s, const float* values, const uint8_t* winners, float* images) {
  static const auto sliding_expand_row = FLAXCNN_BEST(sliding_expand_row);
  each_image_row(pool, s.n, s.h, s.n * s.h * s.w * s.c, [&](int64_t image, int64_t y) {
    const int64_t from = image * s.down * s.across * s.c;
    sliding_expand_row(s, y, values + from, winners + from, images + (image * s.h + y) * s.w * s.c);
  });
}

void sliding_select(xla::ffi::ThreadPool& pool, const Sliding& s, const float* images, const uint8_t* winners, float* values) {
  static const auto sliding_select_row = FLAXCNN_BEST(sliding_select_row);
  each_image_row(pool, s.n, s.down, s.n * s.h * s.w * s.c, [&](int64_t image, int64_t y) {
    const int64_t to = (image * s.down + y) * s.across * s.c;
    sliding_select_row(s, y, images + image * s.h * s.w * s.c, winners + to, values + to);
  });
}

void channel_sum(xla::ffi::ThreadPool& pool, int64_t rows, int64_t channels, const float* values, float* sums) {
  static const auto sum_rows = FLAXCNN_BEST(sum_rows);
  const int64_t parts = elementwise_parts(rows * channels, rows);
  auto* partial = static_cast<float*>(channel_sums.of(2 * parts * channels * sizeof(float)));
  run_parts(pool, parts, [&](int64_t part) {
    const int64_t first = rows * part / parts, last = rows * (part + 1) / parts;
    float* own = partial + 2 * part * channels;
    sum_rows(last - first, channels, values + first * channels, own + channels, own);
  });
  std::memcpy(sums, partial, channels * sizeof(float));
  for (int64_t part = 1; part < parts; ++part) {
    for (int64_t c = 0; c < channels; ++c) sums[c] += partial[2 * part * channels + c];
  }
}

}  // namespace flaxcnn
