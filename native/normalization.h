// Batch normalisation in training, by the statistics of the batch, with its gradient: each in two passes over the arrays.
#pragma once

#include <cstdint>

#include "xla/ffi/api/ffi.h"

namespace flaxcnn {

// Arrays (rows, channels). Where the bound is above 0, a ReLU follows that ends there, at infinity or at 6.
struct Normalization {
  int64_t rows, channels;
  float epsilon;
  float bound;
};

// y = (x - mean) / √(variance + ε) · scale + bias; mean and variance (channels) over the rows are returned, too.
void batch_norm(xla::ffi::ThreadPool& pool, const Normalization& normalization, const float* x, const float* scale,
                const float* bias, float* y, float* mean, float* variance);

// The gradients of x, scale and bias, given those of y, mean and variance.
void batch_norm_gradient(xla::ffi::ThreadPool& pool, const Normalization& normalization, const float* x, const float* scale,
                         const float* bias, const float* mean, const float* variance, const float* dy, const float* dmean,
                         const float* dvariance, float* dx, float* dscale, float* dbias);

}  // namespace flaxcnn
