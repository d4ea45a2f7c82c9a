// The kernel's gradient of depthwise convolutions by kernels of five or seven columns: oneDNN 3.2 takes four to twelve times
// as long for them (docs/performance.md).
#pragma once

#include "convolution.h"

namespace flaxcnn {

// Whether `depthwise_kernel_gradient` computes it: one filter a channel, five or seven columns, float32, and channels that are
// many or a multiple of sixteen.
bool is_depthwise_gradient(const Convolution& convolution);

// Computes the gradient (KH, KW, 1, C) over `n` of the images, on the calling thread.
void depthwise_kernel_gradient(const Convolution& convolution, int64_t n, const float* images, const float* outputs,
                               float* kernel);

}  // namespace flaxcnn
