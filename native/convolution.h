// Convolutions by oneDNN, in parts that follow from their shapes alone.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

namespace flaxcnn {

enum class Pass : int64_t { kForward, kImagesGradient, kKernelGradient };

// A convolution of images (N, H, W, C) by a kernel (KH, KW, C / groups, F). Numbers only, so that it is its own key.
struct Convolution {
  Pass pass;
  int64_t type;  // dnnl_data_type_t of images, kernel and outputs
  int64_t bias;  // whether the forward pass adds one
  int64_t n, h, w, c, kh, kw, f, oh, ow;
  int64_t stride_h, stride_w, dilation_h, dilation_w, top, bottom, left, right, groups;

  int64_t kernel_size() const { return kh * kw * (c / groups) * f; }
  double operations() const { return 2.0 * n * oh * ow * kernel_size(); }
  bool operator==(const Convolution& other) const { return std::memcmp(this, &other, sizeof *this) == 0; }
};

// How a convolution is computed: primitives for its parts, and the layout of the kernel that they want.
class Plan {
 public:
  // Throws dnnl::error or std::runtime_error where oneDNN has no fast implementation.
  explicit Plan(const Convolution& convolution);

  // Computes a pass. What `images`, `kernel` and `outputs` are follows from the pass: one of them is written, of the
  // gradients' passes `outputs` is the gradient of the outputs. `bias` may be null.
  void run(xla::ffi::ThreadPool& pool, void* images, void* kernel, void* outputs, void* bias) const;

  // Names of the implementations, for people.
  std::string describe() const;

 private:
  struct Variant {  // parts of one size share a primitive
    dnnl::primitive primitive;
    dnnl::memory::desc images, kernel, outputs, scratchpad;
    dnnl::memory::dims before, after;  // padding
    std::string name;
  };
  struct Part {
    size_t variant;
    int64_t images_offset, outputs_offset;  // in elements
    int64_t count;                          // of images
  };

  size_t variant_of(int64_t images, int64_t first_row, int64_t last_row);
  void run_part(const Part& part, void* images, void* kernel, void* outputs, void* bias) const;

  Convolution convolution_;
  bool depthwise_gradient_;  // computed by depthwise.h, without variants
  dnnl::memory::desc user_kernel_, kernel_, bias_;
  dnnl::primitive to_kernel_, from_kernel_;  // reorders between the two layouts, where they differ
  std::vector<Variant> variants_;
  std::vector<Part> parts_;
};

// Returns the plan of a convolution, made once and kept with a bound.
std::shared_ptr<const Plan> plan_of(const Convolution& convolution);

}  // namespace flaxcnn
