// What JAX and Python call: handlers of XLA's foreign function interface, and plain C functions for ctypes.

#include <malloc.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "convolution.h"
#include "elementwise.h"
#include "normalization.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace flaxcnn {
namespace {

using Window = ffi::Span<const int64_t>;  // strides, dilation, top, bottom, left, right, groups
using Shape = ffi::Span<const int64_t>;
constexpr size_t kWindow = 9;

// An operand that may have a leading axis of several arrays.
struct Operand {
  template <typename Array>
  Operand(Array& array, size_t own_rank) : shape(array.dimensions()), data(static_cast<char*>(array.untyped_data())) {
    if (shape.size() > own_rank) {
      count = shape[0];
      bytes_apart = array.size_bytes() / std::max<int64_t>(1, count);
      shape = Shape(shape.begin() + 1, own_rank);
    }
  }
  void* of(int64_t index) const { return data + (count < 0 ? 0 : index * static_cast<int64_t>(bytes_apart)); }

  Shape shape;
  char* data;
  int64_t count = -1;  // -1 without the axis
  size_t bytes_apart = 0;
};

int64_t type_of(ffi::DataType type) {
  switch (type) {
    case ffi::DataType::F32: return dnnl_f32;
    case ffi::DataType::BF16: return dnnl_bf16;
    default: throw std::runtime_error("a type that is neither float32 nor bfloat16");
  }
}

Convolution convolution_of(Pass pass, int64_t type, bool bias, Shape images, Shape kernel, Shape outputs, Window w) {
  return {pass, type, bias, images[0], images[1], images[2], images[3], kernel[0], kernel[1], kernel[3], outputs[1], outputs[2],
          w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8]};
}

ffi::Error guarded(const std::function<void()>& work) {
  try {
    work();
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("flaxcnn's native part: ") + error.what());
  }
}

template <typename... Operands>
int64_t common_count(const Operands&... operands) {
  return std::max<int64_t>(1, std::max({operands.count...}));
}

void convolve(ffi::ThreadPool& pool, Pass pass, int64_t type, const Operand& images, const Operand& kernel,
              const Operand& outputs, const Operand* bias, Window window) {
  if (window.size() != kWindow) throw std::runtime_error("a window of the wrong length");
  const auto plan = plan_of(convolution_of(pass, type, bias != nullptr, images.shape, kernel.shape, outputs.shape, window));
  for (int64_t i = 0; i < common_count(images, kernel, outputs); ++i) {
    plan->run(pool, images.of(i), kernel.of(i), outputs.of(i), bias ? bias->of(i) : nullptr);
  }
}

using Array = ffi::AnyBuffer;
using Output = ffi::Result<ffi::AnyBuffer>;

ffi::Error forward(ffi::ThreadPool pool, Array images, Array kernel, Output outputs, Window window) {
  return guarded([&] {
    convolve(pool, Pass::kForward, type_of(images.element_type()), {images, 4}, {kernel, 4}, {*outputs, 4}, nullptr, window);
  });
}

ffi::Error forward_bias(ffi::ThreadPool pool, Array images, Array kernel, Array bias, Output outputs, Window window) {
  return guarded([&] {
    const Operand shift(bias, 1);
    convolve(pool, Pass::kForward, type_of(images.element_type()), {images, 4}, {kernel, 4}, {*outputs, 4}, &shift, window);
  });
}

ffi::Error images_gradient(ffi::ThreadPool pool, Array outputs, Array kernel, Output images, Window window) {
  return guarded([&] {
    convolve(pool, Pass::kImagesGradient, type_of(outputs.element_type()), {*images, 4}, {kernel, 4}, {outputs, 4}, nullptr,
             window);
  });
}

ffi::Error kernel_gradient(ffi::ThreadPool pool, Array images, Array outputs, Output kernel, Window window) {
  return guarded([&] {
    convolve(pool, Pass::kKernelGradient, type_of(images.element_type()), {images, 4}, {*kernel, 4}, {outputs, 4}, nullptr,
             window);
  });
}

// All leading axes of images are images, so a leading axis more changes nothing here.
template <typename Buffer>
Windows windows_of(Buffer& images, int64_t rows, int64_t columns) {
  const auto shape = images.dimensions();
  const auto n = std::accumulate(shape.begin(), shape.end() - 3, int64_t{1}, std::multiplies<>());
  return {n, shape[shape.size() - 3], shape[shape.size() - 2], shape[shape.size() - 1], rows, columns};
}

using Floats = ffi::Buffer<ffi::F32>;
using Bytes = ffi::Buffer<ffi::U8>;

ffi::Error pool_maxima(ffi::ThreadPool pool, Floats images, ffi::Result<Floats> maxima, int64_t rows, int64_t columns) {
  return guarded([&] { max_pool(pool, windows_of(images, rows, columns), images.typed_data(), maxima->typed_data(), nullptr); });
}

ffi::Error pool_winners(ffi::ThreadPool pool, Floats images, ffi::Result<Floats> maxima, ffi::Result<Bytes> winners, int64_t rows,
                        int64_t columns) {
  return guarded([&] {
    max_pool(pool, windows_of(images, rows, columns), images.typed_data(), maxima->typed_data(), winners->typed_data());
  });
}

// Calls `one(windows of an array, image, value, winner)` for each of several arrays, where one of both may be shared by all.
template <typename Images, typename Values, typename One>
void each_array(Images& images, Values& values, Bytes& winners, int64_t rows, int64_t columns, const One& one) {
  const Operand whole(images, 4), some(values, 4), places(winners, 4);
  const int64_t arrays = common_count(whole, some, places);
  Windows windows = windows_of(images, rows, columns);
  if (whole.count > 0) windows.n /= whole.count;
  for (int64_t i = 0; i < arrays; ++i) {
    one(windows, static_cast<float*>(whole.of(i)), static_cast<float*>(some.of(i)), static_cast<uint8_t*>(places.of(i)));
  }
}

ffi::Error pool_expand(ffi::ThreadPool pool, Floats values, Bytes winners, ffi::Result<Floats> images, int64_t rows,
                       int64_t columns) {
  return guarded([&] {
    each_array(*images, values, winners, rows, columns, [&](const Windows& windows, float* image, float* value, uint8_t* winner) {
      expand(pool, windows, value, winner, image);
    });
  });
}

ffi::Error pool_select(ffi::ThreadPool pool, Floats images, Bytes winners, ffi::Result<Floats> values, int64_t rows,
                       int64_t columns) {
  return guarded([&] {
    each_array(images, *values, winners, rows, columns, [&](const Windows& windows, float* image, float* value, uint8_t* winner) {
      select(pool, windows, image, winner, value);
    });
  });
}

using Sizes = ffi::Span<const int64_t>;  // rows, columns, steps down and across, padding above and left

// Of images (..., H, W, C) and what is kept of each window, (..., down, across, C).
template <typename Images, typename Values>
Sliding sliding_of(Images& images, Values& values, Sizes sizes) {
  if (sizes.size() != 6) throw std::runtime_error("a description of windows of the wrong length");
  const Windows whole = windows_of(images, sizes[0], sizes[1]);
  const auto kept = values.dimensions();
  return {whole.n, whole.h, whole.w, whole.c, sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5],
          kept[kept.size() - 3], kept[kept.size() - 2]};
}

ffi::Error sliding_maxima(ffi::ThreadPool pool, Floats images, ffi::Result<Floats> maxima, Sizes sizes) {
  return guarded([&] {
    sliding_max(pool, sliding_of(images, *maxima, sizes), images.typed_data(), maxima->typed_data(), nullptr);
  });
}

ffi::Error sliding_winners(ffi::ThreadPool pool, Floats images, ffi::Result<Floats> maxima, ffi::Result<Bytes> winners,
                           Sizes sizes) {
  return guarded([&] {
    sliding_max(pool, sliding_of(images, *maxima, sizes), images.typed_data(), maxima->typed_data(), winners->typed_data());
  });
}

// As `each_array`.
template <typename Images, typename Values, typename One>
void each_sliding(Images& images, Values& values, Bytes& winners, Sizes sizes, const One& one) {
  Sliding windows = sliding_of(images, values, sizes);
  each_array(images, values, winners, sizes[0], sizes[1],
             [&](const Windows& whole, float* image, float* value, uint8_t* winner) {
               windows.n = whole.n;
               one(windows, image, value, winner);
             });
}

ffi::Error sliding_expansion(ffi::ThreadPool pool, Floats values, Bytes winners, ffi::Result<Floats> images, Sizes sizes) {
  return guarded([&] {
    each_sliding(*images, values, winners, sizes, [&](const Sliding& windows, float* image, float* value, uint8_t* winner) {
      sliding_expand(pool, windows, value, winner, image);
    });
  });
}

ffi::Error sliding_selection(ffi::ThreadPool pool, Floats images, Bytes winners, ffi::Result<Floats> values, Sizes sizes) {
  return guarded([&] {
    each_sliding(images, *values, winners, sizes, [&](const Sliding& windows, float* image, float* value, uint8_t* winner) {
      sliding_select(pool, windows, image, winner, value);
    });
  });
}

ffi::Error sum_channels(ffi::ThreadPool pool, Floats values, ffi::Result<Floats> sums) {
  return guarded([&] {
    const int64_t channels = values.dimensions().back();
    const int64_t arrays = sums->element_count() / channels;
    const int64_t rows = values.element_count() / channels / arrays;
    for (int64_t i = 0; i < arrays; ++i) {
      channel_sum(pool, rows, channels, values.typed_data() + i * rows * channels, sums->typed_data() + i * channels);
    }
  });
}

// Of so many arrays (..., C) in one.
template <typename Buffer>
Normalization normalization_of(Buffer& x, int64_t arrays, float epsilon, float bound) {
  const int64_t channels = x.dimensions().back();
  return {static_cast<int64_t>(x.element_count()) / channels / arrays, channels, epsilon, bound};
}

ffi::Error normalize_batch(ffi::ThreadPool pool, Floats x, Floats scale, Floats bias, ffi::Result<Floats> y,
                           ffi::Result<Floats> mean, ffi::Result<Floats> variance, float epsilon, float bound) {
  return guarded([&] {
    const int64_t channels = x.dimensions().back(), arrays = mean->element_count() / channels;
    const Normalization n = normalization_of(*y, arrays, epsilon, bound);
    const int64_t size = n.rows * channels;
    const size_t rank = y->dimensions().size() - (mean->dimensions().size() - 1);
    const Operand xs(x, rank), scales(scale, 1), biases(bias, 1);
    const auto of = [](const Operand& operand, int64_t i) { return static_cast<const float*>(operand.of(i)); };
    for (int64_t i = 0; i < arrays; ++i) {
      batch_norm(pool, n, of(xs, i), of(scales, i), of(biases, i), y->typed_data() + i * size,
                 mean->typed_data() + i * channels, variance->typed_data() + i * channels);
    }
  });
}

ffi::Error normalize_batch_gradient(ffi::ThreadPool pool, Floats x, Floats scale, Floats bias, Floats mean, Floats variance,
                                    Floats dy, Floats dmean, Floats dvariance, ffi::Result<Floats> dx,
                                    ffi::Result<Floats> dscale, ffi::Result<Floats> dbias, float epsilon, float bound) {
  return guarded([&] {
    const int64_t channels = x.dimensions().back(), arrays = dscale->element_count() / channels;
    const Normalization n = normalization_of(*dx, arrays, epsilon, bound);
    const int64_t size = n.rows * channels;
    const size_t rank = dx->dimensions().size() - (dscale->dimensions().size() - 1);
    const Operand xs(x, rank), dys(dy, rank), scales(scale, 1), biases(bias, 1), means(mean, 1), variances(variance, 1),
        dmeans(dmean, 1), dvariances(dvariance, 1);
    const auto of = [](const Operand& operand, int64_t i) { return static_cast<const float*>(operand.of(i)); };
    for (int64_t i = 0; i < arrays; ++i) {
      batch_norm_gradient(pool, n, of(xs, i), of(scales, i), of(biases, i), of(means, i), of(variances, i), of(dys, i),
                          of(dmeans, i), of(dvariances, i), dx->typed_data() + i * size, dscale->typed_data() + i * channels,
                          dbias->typed_data() + i * channels);
    }
  });
}

}  // namespace
}  // namespace flaxcnn

#define FLAXCNN_EXPORT extern "C" __attribute__((visibility("default")))
#define FLAXCNN_HANDLER(name, function, binding)       \
  FLAXCNN_EXPORT XLA_FFI_Error* name(XLA_FFI_CallFrame*); \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, flaxcnn::function, binding)
#define FLAXCNN_POOL ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()
#define FLAXCNN_WINDOW Attr<ffi::Span<const int64_t>>("window")
#define FLAXCNN_SIZE Attr<int64_t>("rows").Attr<int64_t>("columns")

FLAXCNN_HANDLER(flaxcnn_convolution, forward,
                FLAXCNN_POOL.Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().FLAXCNN_WINDOW);
FLAXCNN_HANDLER(
    flaxcnn_convolution_bias, forward_bias,
    FLAXCNN_POOL.Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().FLAXCNN_WINDOW);
FLAXCNN_HANDLER(flaxcnn_images_gradient, images_gradient,
                FLAXCNN_POOL.Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().FLAXCNN_WINDOW);
FLAXCNN_HANDLER(flaxcnn_kernel_gradient, kernel_gradient,
                FLAXCNN_POOL.Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().FLAXCNN_WINDOW);
FLAXCNN_HANDLER(flaxcnn_pool_maxima, pool_maxima,
                FLAXCNN_POOL.Arg<flaxcnn::Floats>().Ret<flaxcnn::Floats>().FLAXCNN_SIZE);
FLAXCNN_HANDLER(flaxcnn_pool_winners, pool_winners,
                FLAXCNN_POOL.Arg<flaxcnn::Floats>().Ret<flaxcnn::Floats>().Ret<flaxcnn::Bytes>().FLAXCNN_SIZE);
FLAXCNN_HANDLER(flaxcnn_pool_expand, pool_expand,
                FLAXCNN_POOL.Arg<flaxcnn::Floats>().Arg<flaxcnn::Bytes>().Ret<flaxcnn::Floats>().FLAXCNN_SIZE);
FLAXCNN_HANDLER(flaxcnn_pool_select, pool_select,
                FLAXCNN_POOL.Arg<flaxcnn::Floats>().Arg<flaxcnn::Bytes>().Ret<flaxcnn::Floats>().FLAXCNN_SIZE);
#define FLAXCNN_SIZES Attr<ffi::Span<const int64_t>>("windows")
FLAXCNN_HANDLER(flaxcnn_sliding_maxima, sliding_maxima,
                FLAXCNN_POOL.Arg<flaxcnn::Floats>().Ret<flaxcnn::Floats>().FLAXCNN_SIZES);
FLAXCNN_HANDLER(flaxcnn_sliding_winners, sliding_winners,
                FLAXCNN_POOL.Arg<flaxcnn::Floats>().Ret<flaxcnn::Floats>().Ret<flaxcnn::Bytes>().FLAXCNN_SIZES);
FLAXCNN_HANDLER(flaxcnn_sliding_expand, sliding_expansion,
                FLAXCNN_POOL.Arg<flaxcnn::Floats>().Arg<flaxcnn::Bytes>().Ret<flaxcnn::Floats>().FLAXCNN_SIZES);
FLAXCNN_HANDLER(flaxcnn_sliding_select, sliding_selection,
                FLAXCNN_POOL.Arg<flaxcnn::Floats>().Arg<flaxcnn::Bytes>().Ret<flaxcnn::Floats>().FLAXCNN_SIZES);
FLAXCNN_HANDLER(flaxcnn_channel_sum, sum_channels, FLAXCNN_POOL.Arg<flaxcnn::Floats>().Ret<flaxcnn::Floats>());

#define FLAXCNN_FLOATS Arg<flaxcnn::Floats>()
#define FLAXCNN_RESULTS Ret<flaxcnn::Floats>().Ret<flaxcnn::Floats>().Ret<flaxcnn::Floats>()
#define FLAXCNN_NORM Attr<float>("epsilon").Attr<float>("bound")
FLAXCNN_HANDLER(flaxcnn_batch_norm, normalize_batch,
                FLAXCNN_POOL.FLAXCNN_FLOATS.FLAXCNN_FLOATS.FLAXCNN_FLOATS.FLAXCNN_RESULTS.FLAXCNN_NORM);
FLAXCNN_HANDLER(flaxcnn_batch_norm_gradient, normalize_batch_gradient,
                FLAXCNN_POOL.FLAXCNN_FLOATS.FLAXCNN_FLOATS.FLAXCNN_FLOATS.FLAXCNN_FLOATS.FLAXCNN_FLOATS.FLAXCNN_FLOATS
                    .FLAXCNN_FLOATS.FLAXCNN_FLOATS.FLAXCNN_RESULTS.FLAXCNN_NORM);

// Writes how a convolution is computed, or why it is not, into `text`; returns whether it is. Its plan is then kept, so the
// first call finds it. `numbers` are the fields of flaxcnn::Convolution in their order.
FLAXCNN_EXPORT int flaxcnn_plan(const int64_t* numbers, int64_t count, char* text, int64_t size) {
  std::string said;
  bool good = false;
  try {
    flaxcnn::Convolution convolution;
    if (count * sizeof(int64_t) != sizeof convolution) throw std::runtime_error("a description of the wrong length");
    std::memcpy(&convolution, numbers, sizeof convolution);
    said = flaxcnn::plan_of(convolution)->describe();
    good = true;
  } catch (const std::exception& error) {
    said = error.what();
  }
  if (size > 0) {
    const auto length = std::min<int64_t>(size - 1, said.size());
    std::memcpy(text, said.data(), length);
    text[length] = 0;
  }
  return good;
}

// The minor version of XLA's FFI that this was compiled for. XLA would refuse a newer one than its own only when it starts, and
// then not start.
FLAXCNN_EXPORT int flaxcnn_ffi_minor() { return XLA_FFI_API_MINOR; }

// oneDNN's version as 10000 · major + 100 · minor + patch.
FLAXCNN_EXPORT int flaxcnn_onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return 10000 * version->major + 100 * version->minor + version->patch;
}

// The instruction set that oneDNN uses here, dnnl_cpu_isa_t.
FLAXCNN_EXPORT int flaxcnn_instruction_set() { return static_cast<int>(dnnl_get_effective_cpu_isa()); }

// Keeps freed memory of up to 256 MiB an array for the next call: the system's allocator returns arrays above 32 MiB at once,
// and a new one then costs a page fault for every 4 KiB, half of the time of a call whose result is large. So it does with
// arrays that a thread but the first one allocates, since they lie in an arena of pieces of 64 MiB; hence one arena for all.
FLAXCNN_EXPORT void flaxcnn_keep_memory() {
#if defined(__GLIBC__)
  // Older versions refuse more than 32 MiB; a trim threshold alone would fix the other at its small initial value.
  if (mallopt(M_MMAP_THRESHOLD, 256 << 20) || mallopt(M_MMAP_THRESHOLD, 32 << 20)) mallopt(M_TRIM_THRESHOLD, 512 << 20);
  mallopt(M_ARENA_MAX, 1);
#endif
}
