// The loops of normalization.cc over rows of (rows, channels). Included once for each kind of processor, as
// elementwise_rows.h is, for the same reasons.

// Adds, for each channel, the sums of what is above `shift` and of its squares.
void moments(int64_t rows, int64_t channels, const float* __restrict x, const float* __restrict shift, float* __restrict sums,
             float* __restrict squares) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < channels; ++c) {
      const float above = x[row * channels + c] - shift[c];
      sums[c] += above;
      squares[c] += above * above;
    }
  }
}

void normalize(int64_t rows, int64_t channels, float bound, const float* __restrict x, const float* __restrict mean,
               const float* __restrict factor, const float* __restrict bias, float* __restrict y) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* __restrict from = x + row * channels;
    float* __restrict to = y + row * channels;
    if (bound > 0) {
      for (int64_t c = 0; c < channels; ++c) {
        const float value = (from[c] - mean[c]) * factor[c] + bias[c];
        const float above = value < 0 ? 0.0f : value;  // a NaN stays
        to[c] = above > bound ? bound : above;
      }
    } else {
      for (int64_t c = 0; c < channels; ++c) to[c] = (from[c] - mean[c]) * factor[c] + bias[c];
    }
  }
}

// Adds, for each channel, the sums of the gradient and of its products with what is above the mean.
void gradient_sums(int64_t rows, int64_t channels, float bound, const float* __restrict x, const float* __restrict gradient,
                   const float* __restrict mean, const float* __restrict factor, const float* __restrict bias,
                   float* __restrict sums, float* __restrict products) {
  for (int64_t row = 0; row < rows; ++row) {
    const float *__restrict from = x + row * channels, *__restrict given = gradient + row * channels;
    for (int64_t c = 0; c < channels; ++c) {
      const float above = from[c] - mean[c], value = above * factor[c] + bias[c];
      const float passed = bound > 0 && !(value > 0 && value < bound) ? 0.0f : given[c];
      sums[c] += passed;
      products[c] += passed * above;
    }
  }
}

void normalize_gradient(int64_t rows, int64_t channels, float bound, const float* __restrict x, const float* __restrict gradient,
                        const float* __restrict mean, const float* __restrict factor, const float* __restrict bias,
                        const float* __restrict slope, const float* __restrict offset, float* __restrict dx) {
  for (int64_t row = 0; row < rows; ++row) {
    const float *__restrict from = x + row * channels, *__restrict given = gradient + row * channels;
    float* __restrict to = dx + row * channels;
    for (int64_t c = 0; c < channels; ++c) {
      const float above = from[c] - mean[c], value = above * factor[c] + bias[c];
      const float passed = bound > 0 && !(value > 0 && value < bound) ? 0.0f : given[c];
      to[c] = passed * factor[c] + (above * slope[c] + offset[c]);
    }
  }
}
