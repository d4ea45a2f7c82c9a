#include "normalization.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "parts.h"
#include "versions.h"

namespace flaxcnn {
namespace {

namespace any {
#include "normalization_rows.h"
}
#if FLAXCNN_VERSIONS
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#include "normalization_rows.h"
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,prefer-vector-width=512")
namespace avx512 {
#include "normalization_rows.h"
}
#pragma GCC pop_options
#endif

constexpr int64_t kRowsPerSum = 128;  // that are added in float32 before their sum is added in float64

thread_local Buffer coefficients, part_sums, block_sums;

// Calls `add(first row, rows, sums, products)` for blocks of rows, and returns the totals of both in float64: each part adds
// its blocks in order, and the parts are added in order.
template <typename Add>
double* totals(xla::ffi::ThreadPool& pool, const Normalization& n, const Add& add) {
  const int64_t parts = elementwise_parts(n.rows * n.channels, n.rows), both = 2 * n.channels;
  auto* sums = static_cast<double*>(part_sums.of(parts * both * sizeof(double)));
  run_parts(pool, parts, [&](int64_t part) {
    auto* block = static_cast<float*>(block_sums.of(both * sizeof(float)));
    double* own = sums + part * both;
    std::fill(own, own + both, 0.0);
    const int64_t last = n.rows * (part + 1) / parts;
    for (int64_t first = n.rows * part / parts; first < last; first += kRowsPerSum) {
      std::memset(block, 0, both * sizeof(float));
      add(first, std::min(kRowsPerSum, last - first), block, block + n.channels);
      for (int64_t i = 0; i < both; ++i) own[i] += block[i];
    }
  });
  for (int64_t part = 1; part < parts; ++part) {
    for (int64_t i = 0; i < both; ++i) sums[i] += sums[part * both + i];
  }
  return sums;
}

template <typename One>
void each_part(xla::ffi::ThreadPool& pool, const Normalization& n, const One& one) {
  const int64_t parts = elementwise_parts(n.rows * n.channels, n.rows);
  run_parts(pool, parts, [&](int64_t part) {
    const int64_t first = n.rows * part / parts;
    one(first * n.channels, n.rows * (part + 1) / parts - first);
  });
}

float factor_of(const Normalization& n, float scale, float variance) { return scale / std::sqrt(variance + n.epsilon); }

}  // namespace

void batch_norm(xla::ffi::ThreadPool& pool, const Normalization& n, const float* x, const float* scale, const float* bias,
                float* y, float* mean, float* variance) {
  static const auto moments = FLAXCNN_BEST(moments);
  static const auto normalize = FLAXCNN_BEST(normalize);
  // Sums of what is above the first row's values: those of the values themselves would cancel where the mean is large.
  const double* sums = totals(pool, n, [&](int64_t first, int64_t rows, float* above, float* squares) {
    moments(rows, n.channels, x + first * n.channels, x, above, squares);
  });
  auto* factor = static_cast<float*>(coefficients.of(n.channels * sizeof(float)));
  for (int64_t c = 0; c < n.channels; ++c) {
    const double above = sums[c] / n.rows;
    mean[c] = static_cast<float>(x[c] + above);
    const double squares = sums[n.channels + c] / n.rows - above * above;
    variance[c] = static_cast<float>(squares < 0 ? 0.0 : squares);  // a NaN stays
    factor[c] = factor_of(n, scale[c], variance[c]);
  }
  each_part(pool, n, [&](int64_t from, int64_t rows) { normalize(rows, n.channels, n.bound, x + from, mean, factor, bias, y + from); });
}

void batch_norm_gradient(xla::ffi::ThreadPool& pool, const Normalization& n, const float* x, const float* scale,
                         const float* bias, const float* mean, const float* variance, const float* dy, const float* dmean,
                         const float* dvariance, float* dx, float* dscale, float* dbias) {
  static const auto gradient_sums = FLAXCNN_BEST(gradient_sums);
  static const auto normalize_gradient = FLAXCNN_BEST(normalize_gradient);
  auto* factor = static_cast<float*>(coefficients.of(3 * n.channels * sizeof(float)));
  float *slope = factor + n.channels, *offset = slope + n.channels;
  for (int64_t c = 0; c < n.channels; ++c) factor[c] = factor_of(n, scale[c], variance[c]);
  const double* sums = totals(pool, n, [&](int64_t first, int64_t rows, float* own, float* products) {
    const int64_t from = first * n.channels;
    gradient_sums(rows, n.channels, n.bound, x + from, dy + from, mean, factor, bias, own, products);
  });
  for (int64_t c = 0; c < n.channels; ++c) {
    const double inverse = 1 / std::sqrt(static_cast<double>(variance[c]) + n.epsilon), product = sums[n.channels + c];
    dbias[c] = static_cast<float>(sums[c]);
    dscale[c] = static_cast<float>(product * inverse);
    slope[c] = static_cast<float>((2.0 * dvariance[c] - factor[c] * product * inverse * inverse) / n.rows);
    offset[c] = static_cast<float>((dmean[c] - factor[c] * sums[c]) / n.rows);
  }
  each_part(pool, n, [&](int64_t from, int64_t rows) {
    normalize_gradient(rows, n.channels, n.bound, x + from, dy + from, mean, factor, bias, slope, offset, dx + from);
  });
}

}  // namespace flaxcnn
