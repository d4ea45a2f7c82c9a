#include "convolution.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <list>
#include <mutex>
#include <stdexcept>
#include <unordered_map>

#include "depthwise.h"
#include "parts.h"

namespace flaxcnn {
namespace {

using dnnl::algorithm;
using dnnl::memory;
using dnnl::prop_kind;
using Dims = memory::dims;

// Chosen by measurement (docs/performance.md). They decide bits, so they never depend on the machine.
constexpr double kTwoPartsOperations = 4e6;  // of a call that is cut at all: a part costs some microseconds by itself
constexpr double kPartOperations = 3e7;      // of a part, where there are more than two
constexpr int64_t kMostParts = 16;
constexpr int64_t kPixelsPerSum = 2400;    // output pixels of a part of the kernel's gradient, which has a sum of its size
constexpr int64_t kSumBlock = 1 << 14;     // values of the kernel that are summed at once
constexpr size_t kMostKept = 64 << 20;     // bytes that a thread keeps for the next call
constexpr size_t kMostPlans = 1024;

thread_local Buffer scratchpad, kernel_copy, partial_sums;

const dnnl::engine& engine() {
  static const dnnl::engine& cpu = *new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return cpu;
}

// While it lives, oneDNN has one thread on this thread of ours: its own OpenMP pool would compete with XLA's, and its bits
// depend on its size. The setting is the calling thread's, which may be the user's own, so it is put back.
class OneThread {
 public:
  OneThread() { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  const int before_ = omp_get_max_threads();
};

dnnl::stream& stream() {
  thread_local dnnl::stream mine(engine());
  return mine;
}

int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A power of two, so that two or four cores have equal shares.
int64_t parts_wanted(const Convolution& c) {
  if (c.operations() < kTwoPartsOperations) return 1;
  double most = c.operations() / kPartOperations;
  if (c.pass == Pass::kKernelGradient) most = std::min<double>(most, c.n * c.oh * c.ow / kPixelsPerSum);
  int64_t parts = 2;
  while (parts < kMostParts && 2 * parts <= most) parts *= 2;
  return parts;
}

void add(float* sum, const float* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sum[i] += values[i];
}

}  // namespace

Plan::Plan(const Convolution& c) : convolution_(c), depthwise_gradient_(is_depthwise_gradient(c)) {
  const OneThread one;  // a primitive is made for a number of threads
  const auto type = static_cast<memory::data_type>(c.type);
  const int64_t in = c.c / c.groups, out = c.f / c.groups;
  const Dims strides_HWIF{c.kw * in * c.f, in * c.f, c.f, 1};
  user_kernel_ = c.groups == 1
      ? memory::desc({c.f, c.c, c.kh, c.kw}, type, Dims{1, c.f, strides_HWIF[0], strides_HWIF[1]})
      : memory::desc({c.groups, out, in, c.kh, c.kw}, type, Dims{out, 1, c.f, strides_HWIF[0], strides_HWIF[1]});
  bias_ = c.bias ? memory::desc({c.f}, type, memory::format_tag::a) : memory::desc();

  const int64_t wanted = parts_wanted(c);
  const int64_t groups = std::min(wanted, c.n);  // of images
  // Few images are cut into rows, too, so that one alone keeps all cores busy.
  const int64_t bands = c.pass == Pass::kForward ? std::clamp<int64_t>(wanted / groups, 1, std::max<int64_t>(1, c.oh / 4)) : 1;
  const int64_t image = c.h * c.w * c.c, output = c.oh * c.ow * c.f;
  for (int64_t group = 0, first = 0; group < groups; ++group) {
    const int64_t count = c.n / groups + (group < c.n % groups ? 1 : 0);
    if (bands == 1) {
      const size_t variant = depthwise_gradient_ ? 0 : variant_of(count, 0, c.oh);
      parts_.push_back({variant, first * image, first * output, count});
    }
    for (int64_t band = 0; bands > 1 && band < bands; ++band) {  // of one image: there are more parts than images
      const int64_t from = c.oh * band / bands, to = c.oh * (band + 1) / bands;
      const int64_t row = std::clamp<int64_t>(from * c.stride_h - c.top, 0, c.h);
      parts_.push_back({variant_of(1, from, to), first * image + row * c.w * c.c, first * output + from * c.ow * c.f, 1});
    }
    first += count;
  }
  if (depthwise_gradient_) kernel_ = user_kernel_;
  const memory user(user_kernel_, engine(), nullptr), wanted_kernel(kernel_, engine(), nullptr);
  if (c.pass == Pass::kKernelGradient) {
    if (kernel_ != user_kernel_) from_kernel_ = dnnl::reorder(wanted_kernel, user);
  } else if (kernel_ != user_kernel_) {
    to_kernel_ = dnnl::reorder(user, wanted_kernel);
  }
}

// Returns the variant for so many images and these rows of their outputs. Bands in the midst of an image share one; those
// at its edges differ by their padding.
size_t Plan::variant_of(int64_t count, int64_t first_row, int64_t last_row) {
  const Convolution& c = convolution_;
  const auto type = static_cast<memory::data_type>(c.type);
  const int64_t start = first_row * c.stride_h - c.top;
  const int64_t end = last_row == c.oh ? c.h + c.bottom  // some last rows may belong to no window; their gradient is 0
                                       : (last_row - 1) * c.stride_h + (c.kh - 1) * c.dilation_h + 1 - c.top;
  const int64_t from = std::clamp<int64_t>(start, 0, c.h), to = std::clamp<int64_t>(end, from, c.h);
  if (to == from) throw std::runtime_error("a band of rows that lies in the padding");
  Variant made;
  made.images = memory::desc({count, c.c, to - from, c.w}, type, memory::format_tag::nhwc);
  made.outputs = memory::desc({count, c.f, last_row - first_row, c.ow}, type, memory::format_tag::nhwc);
  made.before = {from - start, c.left};
  made.after = {end - to, c.right};
  for (size_t i = 0; i < variants_.size(); ++i) {
    const Variant& old = variants_[i];
    if (old.images == made.images && old.outputs == made.outputs && old.before == made.before && old.after == made.after) return i;
  }
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // threads share a primitive, not its scratchpad
  attributes.set_fpmath_mode(dnnl::fpmath_mode::strict);
  const Dims strides{c.stride_h, c.stride_w}, dilation{c.dilation_h - 1, c.dilation_w - 1}, shape = user_kernel_.get_dims();
  // The first variant chooses the kernel's layout. The sums of its gradient are float32 whatever the type.
  const auto kernel = [&](memory::data_type of) {
    return variants_.empty() ? memory::desc(shape, of, memory::format_tag::any) : kernel_;
  };
  const auto forward = [&](prop_kind kind, const memory::desc& layout) {
    return dnnl::convolution_forward::primitive_desc(engine(), kind, algorithm::convolution_direct, made.images, layout, bias_,
                                                     made.outputs, strides, dilation, made.before, made.after, attributes);
  };
  const auto hint = [&] { return forward(prop_kind::forward_training, memory::desc(shape, type, memory::format_tag::any)); };
  const auto take = [&](auto primitive, const auto& description, const memory::desc& layout) {
    made.primitive = primitive;
    made.kernel = layout;
    made.scratchpad = description.scratchpad_desc();
    made.name = description.impl_info_str();
  };
  switch (c.pass) {
    case Pass::kForward: {
      const auto description = forward(prop_kind::forward_inference, kernel(type));
      take(dnnl::convolution_forward(description), description, description.weights_desc());
      break;
    }
    case Pass::kImagesGradient: {
      const dnnl::convolution_backward_data::primitive_desc description(
          engine(), algorithm::convolution_direct, made.images, kernel(type), made.outputs, strides, dilation, made.before,
          made.after, hint(), attributes);
      take(dnnl::convolution_backward_data(description), description, description.weights_desc());
      break;
    }
    case Pass::kKernelGradient: {
      const dnnl::convolution_backward_weights::primitive_desc description(
          engine(), algorithm::convolution_direct, made.images, kernel(memory::data_type::f32), made.outputs, strides, dilation,
          made.before, made.after, hint(), attributes);
      take(dnnl::convolution_backward_weights(description), description, description.diff_weights_desc());
      break;
    }
  }
  if (made.name.rfind("ref", 0) == 0) throw std::runtime_error("oneDNN has only its reference for this convolution");
  if (variants_.empty()) kernel_ = made.kernel;
  variants_.push_back(std::move(made));
  return variants_.size() - 1;
}

void Plan::run(xla::ffi::ThreadPool& pool, void* images, void* kernel, void* outputs, void* bias) const {
  const OneThread one;
  const auto count = static_cast<int64_t>(parts_.size());
  if (convolution_.pass != Pass::kKernelGradient) {
    if (to_kernel_) {
      void* copy = kernel_copy.of(kernel_.get_size());
      memory from(user_kernel_, engine(), kernel), to(kernel_, engine(), copy);
      to_kernel_.execute(stream(), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
      kernel = copy;
    }
    run_parts(pool, count, [&](int64_t part) { run_part(parts_[part], images, kernel, outputs, bias); });
  } else {
    const auto size = static_cast<int64_t>(kernel_.get_size() / sizeof(float));
    const int64_t apart = ceil_divide(size, 16) * 16;
    const bool direct = count == 1 && !from_kernel_;
    float* sums = direct ? static_cast<float*>(kernel) : static_cast<float*>(partial_sums.of(count * apart * sizeof(float)));
    run_parts(pool, count, [&](int64_t part) { run_part(parts_[part], images, sums + part * apart, outputs, nullptr); });
    if (count > 1) {  // in the parts' order for each value, whichever thread adds them
      float* total = from_kernel_ ? sums : static_cast<float*>(kernel);
      run_parts(pool, ceil_divide(size, kSumBlock), [&](int64_t block) {
        const int64_t from = block * kSumBlock, length = std::min(kSumBlock, size - from);
        if (total != sums) std::memcpy(total + from, sums + from, length * sizeof(float));
        for (int64_t part = 1; part < count; ++part) add(total + from, sums + part * apart + from, length);
      });
    }
    if (from_kernel_) {
      memory from(kernel_, engine(), sums), to(user_kernel_, engine(), kernel);
      from_kernel_.execute(stream(), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
    }
    partial_sums.trim(kMostKept);
  }
  kernel_copy.trim(kMostKept);
}

void Plan::run_part(const Part& part, void* images, void* kernel, void* outputs, void* bias) const {
  if (depthwise_gradient_) {
    const auto* in = static_cast<float*>(images) + part.images_offset;
    const auto* gradient = static_cast<float*>(outputs) + part.outputs_offset;
    return depthwise_kernel_gradient(convolution_, part.count, in, gradient, static_cast<float*>(kernel));
  }
  const OneThread one;
  const Variant& variant = variants_[part.variant];
  dnnl::stream& own = stream();
  const int64_t bytes = dnnl::memory::data_type_size(static_cast<memory::data_type>(convolution_.type));
  const memory in(variant.images, engine(), static_cast<char*>(images) + part.images_offset * bytes);
  const memory out(variant.outputs, engine(), static_cast<char*>(outputs) + part.outputs_offset * bytes);
  const memory weights(variant.kernel, engine(), kernel);
  const size_t needed = variant.scratchpad.get_size();
  const memory scratch(variant.scratchpad, engine(), needed ? scratchpad.of(needed) : nullptr);
  switch (convolution_.pass) {
    case Pass::kForward: {
      if (bias) {
        const memory shift(bias_, engine(), bias);
        variant.primitive.execute(own, {{DNNL_ARG_SRC, in}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_BIAS, shift},
                                        {DNNL_ARG_DST, out}, {DNNL_ARG_SCRATCHPAD, scratch}});
      } else {
        variant.primitive.execute(own, {{DNNL_ARG_SRC, in}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, out},
                                        {DNNL_ARG_SCRATCHPAD, scratch}});
      }
      break;
    }
    case Pass::kImagesGradient:
      variant.primitive.execute(own, {{DNNL_ARG_DIFF_SRC, in}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DIFF_DST, out},
                                      {DNNL_ARG_SCRATCHPAD, scratch}});
      break;
    case Pass::kKernelGradient:
      variant.primitive.execute(own, {{DNNL_ARG_SRC, in}, {DNNL_ARG_DIFF_WEIGHTS, weights}, {DNNL_ARG_DIFF_DST, out},
                                      {DNNL_ARG_SCRATCHPAD, scratch}});
      break;
  }
  own.wait();
  scratchpad.trim(kMostKept);
}

std::string Plan::describe() const {
  std::string text = std::to_string(parts_.size()) + " parts";
  if (depthwise_gradient_) text += ", depthwise";
  for (const Variant& variant : variants_) text += ", " + variant.name;
  return text;
}

std::shared_ptr<const Plan> plan_of(const Convolution& convolution) {
  struct Hash {
    size_t operator()(const Convolution& c) const {
      size_t hash = 1469598103934665603u;
      const auto* bytes = reinterpret_cast<const unsigned char*>(&c);
      for (size_t i = 0; i < sizeof c; ++i) hash = (hash ^ bytes[i]) * 1099511628211u;
      return hash;
    }
  };
  using Entry = std::pair<Convolution, std::shared_ptr<const Plan>>;
  // Never destroyed: XLA's threads may still compute while the process ends.
  static std::mutex& mutex = *new std::mutex;
  static auto& entries = *new std::list<Entry>;  // the most recently used first
  static auto& index = *new std::unordered_map<Convolution, std::list<Entry>::iterator, Hash>;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (const auto found = index.find(convolution); found != index.end()) {
      entries.splice(entries.begin(), entries, found->second);
      return found->second->second;
    }
  }
  auto plan = std::make_shared<const Plan>(convolution);  // without the lock: it takes milliseconds
  const std::lock_guard<std::mutex> lock(mutex);
  if (const auto found = index.find(convolution); found != index.end()) return found->second->second;
  entries.emplace_front(convolution, plan);
  index[convolution] = entries.begin();
  if (entries.size() > kMostPlans) {
    index.erase(entries.back().first);
    entries.pop_back();
  }
  return plan;
}

}  // namespace flaxcnn
