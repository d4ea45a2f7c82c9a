#include "depthwise.h"

#include <algorithm>
#include <cstring>

#include "versions.h"

namespace flaxcnn {
namespace {

namespace any {
#include "depthwise_rows.h"
}
#if FLAXCNN_VERSIONS
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
#include "depthwise_rows.h"
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,prefer-vector-width=512")
namespace avx512 {
#include "depthwise_rows.h"
}
#pragma GCC pop_options
#endif

}  // namespace

bool is_depthwise_gradient(const Convolution& c) {
  const bool depthwise = c.groups == c.c && c.c == c.f;
  const bool pays = (c.kw == 5 || c.kw == 7) && (c.c % 16 == 0 || c.c >= 64);  // sixteen channels are summed at once
  return c.pass == Pass::kKernelGradient && c.type == dnnl_f32 && depthwise && pays;
}

void depthwise_kernel_gradient(const Convolution& c, int64_t n, const float* images, const float* outputs, float* kernel) {
  static const auto kernel_gradient = FLAXCNN_BEST(kernel_gradient);
  kernel_gradient(c, n, images, outputs, kernel);
}

}  // namespace flaxcnn
