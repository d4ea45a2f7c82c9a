// The loops of depthwise.cc. Included once for each kind of processor, as elementwise_rows.h is, for the same reasons.

constexpr int64_t kLanes = 16;
using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));

inline Floats load(const float* from, int64_t count) {
  Floats vector{};
  if (count == kLanes) {
    std::memcpy(&vector, from, sizeof vector);
  } else {
    std::memcpy(&vector, from, count * sizeof(float));
  }
  return vector;
}

inline void add_to(float* to, const Floats& vector, int64_t count) {
  const Floats sum = load(to, count) + vector;
  if (count == kLanes) {
    std::memcpy(to, &sum, sizeof sum);
  } else {
    std::memcpy(to, &sum, count * sizeof(float));
  }
}

// Adds the gradient of one row of a kernel, of `columns` taps, over one row of outputs. `columns` is a constant where it is
// called, so that each tap's sum stays in a register.
inline __attribute__((always_inline)) void row_of_taps(const int64_t columns, const Convolution& c, const float* images,
                                                       const float* outputs, int64_t count, float* kernel) {
  Floats sums[7] = {};
  // Outputs whose taps all lie in the image need no test.
  const int64_t extent = (columns - 1) * c.dilation_w;
  const int64_t from = std::min(c.ow, (c.left + c.stride_w - 1) / c.stride_w);
  const int64_t last = c.w - 1 - extent + c.left;
  const int64_t to = last < 0 ? from : std::max(from, std::min(c.ow, last / c.stride_w + 1));
  for (int64_t x = 0; x < c.ow; ++x) {
    const Floats gradient = load(outputs + x * c.c, count);
    const int64_t pixel = x * c.stride_w - c.left;
    if (x >= from && x < to) {
#pragma GCC unroll 8
      for (int64_t j = 0; j < columns; ++j) sums[j] += load(images + (pixel + j * c.dilation_w) * c.c, count) * gradient;
    } else {
#pragma GCC unroll 8
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t place = pixel + j * c.dilation_w;
        if (place >= 0 && place < c.w) sums[j] += load(images + place * c.c, count) * gradient;
      }
    }
  }
#pragma GCC unroll 8
  for (int64_t j = 0; j < columns; ++j) add_to(kernel + j * c.c, sums[j], count);
}

void kernel_gradient(const Convolution& c, int64_t n, const float* images, const float* outputs, float* kernel) {
  const int64_t size = c.kh * c.kw * c.c;
  std::memset(kernel, 0, size * sizeof(float));
  for (int64_t image = 0; image < n; ++image) {
    for (int64_t block = 0; block < c.c; block += kLanes) {
      const int64_t count = std::min(kLanes, c.c - block);
      for (int64_t y = 0; y < c.oh; ++y) {
        const float* gradient = outputs + ((image * c.oh + y) * c.ow) * c.c + block;
        for (int64_t i = 0; i < c.kh; ++i) {
          const int64_t row = y * c.stride_h - c.top + i * c.dilation_h;
          if (row < 0 || row >= c.h) continue;
          const float* pixels = images + (image * c.h + row) * c.w * c.c + block;
          float* taps = kernel + i * c.kw * c.c + block;
          if (c.kw == 5 && count == kLanes) row_of_taps(5, c, pixels, gradient, kLanes, taps);
          if (c.kw == 5 && count < kLanes) row_of_taps(5, c, pixels, gradient, count, taps);
          if (c.kw == 7 && count == kLanes) row_of_taps(7, c, pixels, gradient, kLanes, taps);
          if (c.kw == 7 && count < kLanes) row_of_taps(7, c, pixels, gradient, count, taps);
        }
      }
    }
  }
}
