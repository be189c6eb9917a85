// A device of our own over torch's PrivateUse1: what a graphics card refuses, it refuses.
//
// Its memory lies in RAM, but no operator takes it for the CPU's. An operator runs on aliases of the
// memory with torch's kernels for the CPU, so it costs little and rounds as on the CPU. As on CUDA,
// operands must lie on one device, and a copy with non_blocking=True arrives when it is waited for.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/library.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>

using at::Tensor;
using c10::Device;
using c10::DispatchKey;
using c10::DispatchKeySet;
using c10::IValue;

namespace {

const Device HERE{c10::DeviceType::PrivateUse1, 0};
const DispatchKeySet KEYS{DispatchKey::PrivateUse1};

bool is_here(const Tensor& tensor) { return tensor.defined() && tensor.is_privateuseone(); }

// -- memory, of which there is as much as a test allows --------------------------------------------

std::atomic<int64_t> limit{0}, used{0}, peak{0}, reads{0}, writes{0};

void take(size_t bytes) {
  const int64_t now = used += static_cast<int64_t>(bytes);
  if (limit > 0 && now > limit) {
    used -= static_cast<int64_t>(bytes);
    TORCH_CHECK_WITH(OutOfMemoryError, false, "second device out of memory: ", bytes,
                     " bytes were asked for, ", limit - used, " are free");
  }
  for (int64_t seen = peak; now > seen && !peak.compare_exchange_weak(seen, now);) {}
}

struct Block {  // memory of its own, or that of a tensor which an operator made
  void* data;
  size_t bytes;
  c10::Storage source;
};

void release(void* pointer) {
  auto* block = static_cast<Block*>(pointer);
  used -= static_cast<int64_t>(block->bytes);
  if (!block->source) c10::free_cpu(block->data);
  delete block;
}

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    take(bytes);
    auto* block = new Block{c10::alloc_cpu(bytes), bytes, {}};
    return {block->data, block, &release, HERE};
  }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }
};
Memory memory;
REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &memory);

void enlarge(const c10::Storage& storage, size_t bytes) {
  auto data = memory.allocate(bytes);
  if (storage.nbytes()) std::memcpy(data.get(), storage.data(), std::min(bytes, storage.nbytes()));
  storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(data));
  storage.unsafeGetStorageImpl()->set_nbytes(bytes);
}

Tensor laid_out(c10::Storage storage, DispatchKeySet keys, const Tensor& as) {
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), keys, as.dtype());
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(as.sizes(), as.strides(), as.storage_offset());
  return tensor;
}

// The same memory as a tensor of the CPU, for as long as one operator runs.
Tensor alias_of(const Tensor& tensor) {
  const auto& storage = tensor.storage();
  c10::DataPtr data(const_cast<void*>(storage.data()), c10::Device(c10::kCPU));
  return laid_out({c10::Storage::use_byte_size_t(), storage.nbytes(), std::move(data)},
                  DispatchKeySet(DispatchKey::CPU), tensor);
}

Tensor brought_here(const Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  c10::Storage source = tensor.storage();
  const size_t bytes = source.nbytes();
  void* data = const_cast<void*>(source.data());
  take(bytes);
  c10::DataPtr owned(data, new Block{data, bytes, std::move(source)}, &release, HERE);
  c10::Storage storage(c10::Storage::use_byte_size_t(), bytes, std::move(owned), &memory, true);
  return laid_out(std::move(storage), KEYS, tensor);
}

// -- copies: those that nobody waits for leave rubbish until somebody does -------------------------

std::mutex mutex;
std::vector<std::pair<Tensor, Tensor>> pending;  // to, values

void arrive() {
  const std::lock_guard<std::mutex> lock(mutex);
  const at::NoGradGuard no_grad;
  for (auto& [to, values] : pending) to.copy_(values);
  pending.clear();
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool non_blocking) {
  const at::NoGradGuard no_grad;
  if (is_here(from) && is_here(to)) {
    alias_of(to).copy_(alias_of(from));
  } else if (is_here(to)) {
    writes++;
    alias_of(to).copy_(from);
  } else if (non_blocking) {
    auto values = alias_of(from).clone();
    std::memset(to.storage().mutable_data(), 0xff, to.storage().nbytes());  // NaN, -1, true
    const std::lock_guard<std::mutex> lock(mutex);
    pending.emplace_back(to, values);
  } else {
    reads++;
    arrive();
    to.copy_(alias_of(from));
  }
  return to;
}

at::Scalar local_scalar(const Tensor& tensor) {
  reads++;
  arrive();
  return alias_of(tensor).item();
}

// -- random numbers: of the device's own generators ------------------------------------------------

struct Numbers final : c10::GeneratorImpl {
  explicit Numbers(at::Generator on_cpu) : GeneratorImpl(HERE, KEYS), inner(std::move(on_cpu)) {}
  void set_current_seed(uint64_t seed) override { inner.set_current_seed(seed); }
  void set_offset(uint64_t offset) override { inner.set_offset(offset); }
  uint64_t get_offset() const override { return inner.get_offset(); }
  uint64_t current_seed() const override { return inner.current_seed(); }
  uint64_t seed() override { return inner.seed(); }
  void set_state(const c10::TensorImpl& state) override {
    inner.unsafeGetGeneratorImpl()->set_state(state);
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return inner.unsafeGetGeneratorImpl()->get_state();
  }
  Numbers* clone_impl() const override { return new Numbers(inner.clone()); }
  at::Generator inner;
};

at::Generator new_generator() {
  return at::Generator(c10::make_intrusive<Numbers>(at::detail::createCPUGenerator()));
}

const at::Generator& default_generator() {
  static const at::Generator generator = new_generator();
  return generator;
}

at::Generator usable(const std::optional<at::Generator>& given) {
  const at::Generator& generator = given && given->defined() ? *given : default_generator();
  TORCH_CHECK(generator.device() == HERE, "Expected a '", HERE,
              "' device type for generator but found '", generator.device(), "'");
  return static_cast<Numbers*>(generator.unsafeGetGeneratorImpl())->inner;
}

// -- streams and events ----------------------------------------------------------------------------

using Moment = std::chrono::steady_clock::time_point;

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return HERE.type(); }
  Device exchangeDevice(Device) const override { return HERE; }
  Device getDevice() const override { return HERE; }
  void setDevice(Device) const override {}
  void uncheckedSetDevice(Device) const noexcept override {}
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  c10::Stream getStream(Device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, HERE);
  }
  c10::Stream getDefaultStream(Device) const override { return getStream(HERE); }
  c10::Stream getNewStream(Device, int) const override { return getStream(HERE); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return getStream(HERE); }
  bool queryStream(const c10::Stream&) const override { return pending.empty(); }
  void synchronizeStream(const c10::Stream&) const override { arrive(); }
  void synchronizeDevice(const c10::DeviceIndex) const override { arrive(); }
  void record(void** event, const c10::Stream&, const c10::DeviceIndex,
              const c10::EventFlag) const override {
    if (*event == nullptr) *event = new Moment;
    *static_cast<Moment*>(*event) = std::chrono::steady_clock::now();
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return pending.empty(); }
  void synchronizeEvent(void*) const override { arrive(); }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override {
    delete static_cast<Moment*>(event);
  }
  double elapsedTime(void* began, void* ended, const c10::DeviceIndex) const override {
    const auto span = *static_cast<Moment*>(ended) - *static_cast<Moment*>(began);
    return std::chrono::duration<double, std::milli>(span).count();
  }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  Device getDeviceFromPtr(void*) const override { return HERE; }
  c10::Allocator* getPinnedMemoryAllocator() const override {
    return c10::GetAllocator(c10::DeviceType::CPU);
  }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return default_generator();
  }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return new_generator(); }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    enlarge(storage, bytes);
  }
};

// -- tensors ---------------------------------------------------------------------------------------

using Sizes = c10::SymIntArrayRef;
using Type = std::optional<at::ScalarType>;
using Layout = std::optional<at::Layout>;
using Place = std::optional<at::Device>;
using Format = std::optional<at::MemoryFormat>;

Tensor empty(Sizes sizes, Type type, Layout, Place, std::optional<bool>, Format format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(sizes), &memory, KEYS,
                                   at::dtype_or_default(type), format);
}

Tensor empty_strided(Sizes sizes, Sizes strides, Type type, Layout, Place, std::optional<bool>) {
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(sizes),
                                           C10_AS_INTARRAYREF_SLOW(strides), &memory, KEYS,
                                           at::dtype_or_default(type));
}

Tensor& set_storage(Tensor& tensor, at::Storage storage, int64_t offset, at::IntArrayRef sizes,
                    at::IntArrayRef strides) {
  auto* impl = tensor.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(storage));
  impl->set_sizes_and_strides(sizes, strides, offset);
  return tensor;
}

const Tensor& resize(const Tensor& tensor, Sizes sizes, Format format) {
  auto* impl = tensor.unsafeGetTensorImpl();
  impl->set_sizes_contiguous(C10_AS_INTARRAYREF_SLOW(sizes));
  if (format && *format != at::MemoryFormat::Preserve && *format != at::MemoryFormat::Contiguous)
    impl->empty_tensor_restride(*format);
  const size_t bytes = (impl->storage_offset() + impl->numel()) * tensor.dtype().itemsize();
  if (bytes > tensor.storage().nbytes()) enlarge(tensor.storage(), bytes);
  return tensor;
}

Tensor copy_and_resize(const Tensor& from, const Tensor& to) {
  to.resize_(from.sizes());
  return copy_from(from, to, false);
}

Tensor convolution(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                   at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation,
                   bool is_transposed, at::IntArrayRef output_padding, int64_t groups) {
  const bool has_bias = bias && bias->defined();
  TORCH_CHECK(is_here(input) && is_here(weight) && (!has_bias || is_here(*bias)),
              "Expected all tensors to be on the same device: convolution's input is on ",
              input.device(), ", its weight on ", weight.device());
  std::optional<Tensor> own_bias;
  if (has_bias) own_bias = alias_of(*bias);
  return brought_here(at::convolution(alias_of(input), alias_of(weight), own_bias, stride, padding,
                                      dilation, is_transposed, output_padding, groups));
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(
    const Tensor& gradient, const Tensor& input, const Tensor& weight, at::IntArrayRef stride,
    at::IntArrayRef padding, at::IntArrayRef dilation, bool is_transposed,
    at::IntArrayRef output_padding, int64_t groups, std::array<bool, 3> wanted) {
  TORCH_CHECK(is_here(gradient) && is_here(input) && is_here(weight),
              "Expected all tensors to be on the same device: backward of a convolution");
  const int64_t channels = is_transposed ? weight.size(1) * groups : weight.size(0);
  auto [of_input, of_weight, of_bias] = at::convolution_backward(
      alias_of(gradient), alias_of(input), alias_of(weight), at::IntArrayRef(&channels, 1), stride,
      padding, dilation, is_transposed, output_padding, groups, wanted);
  return {brought_here(of_input), brought_here(of_weight), brought_here(of_bias)};
}

int64_t plain_attention(const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&,
                        double, bool, std::optional<double>, bool) {
  return 0;
}

// -- every other operator --------------------------------------------------------------------------

// Operators whose argument `value` may be a number from the CPU, a tensor of no dimension, while
// their other arguments may not; of pointwise ones and `where` any may that is not written.
const std::set<std::string> TAKE_VALUES = {
    "aten::masked_fill", "aten::masked_fill_", "aten::fill_", "aten::index_put_",
    "aten::_index_put_impl_", "aten::index_fill", "aten::index_fill_"};
// Operators that take indices from the CPU, as a list.
const std::set<std::string> TAKE_INDICES = {
    "aten::index", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index",
    "aten::_unsafe_index_put"};

struct Operands {
  const c10::FunctionSchema& schema;
  bool takes_value, takes_numbers, takes_indices;
  bool any_here = false, any_on_cpu = false;
  int numbers = 0;
  std::vector<std::pair<Tensor, Tensor>> aliases;  // alias, tensor

  explicit Operands(const c10::OperatorHandle& op)
      : schema(op.schema()),
        takes_value(TAKE_VALUES.count(schema.name())),
        takes_numbers(op.hasTag(at::Tag::pointwise) || schema.name() == "aten::where"),
        takes_indices(TAKE_INDICES.count(schema.name())) {}

  bool may_be_number(const c10::Argument& argument) const {
    if (argument.alias_info() && argument.alias_info()->isWrite()) return false;
    return takes_value ? argument.name().rfind("value", 0) == 0 : takes_numbers;
  }

  Tensor swapped(const Tensor& tensor, bool may_be_number, bool is_index = false) {
    if (!tensor.defined()) return tensor;
    if (!is_here(tensor)) {
      const bool is_wrapped = tensor.unsafeGetTensorImpl()->is_wrapped_number();
      const bool is_number = is_wrapped || (may_be_number && tensor.dim() == 0);
      if (is_number && !is_wrapped) numbers++;
      if (!is_number && !(takes_indices && is_index)) any_on_cpu = true;
      return tensor;
    }
    any_here = true;
    for (const auto& [alias, known] : aliases)
      if (known.is_same(tensor)) return alias;
    // An empty one may be resized, which an alias cannot be.
    Tensor alias = tensor.numel() ? alias_of(tensor)
                                  : at::empty(tensor.sizes(), tensor.options().device(at::kCPU));
    aliases.emplace_back(alias, tensor);
    return alias;
  }

  void swap(IValue& value, const c10::Argument& argument) {
    const bool is_number = may_be_number(argument);
    if (value.isTensor()) {
      value = swapped(value.toTensor(), is_number);
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& tensor : value.toTensorVector())
        list.push_back(swapped(tensor, is_number));
      value = list;
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> list;
      for (const std::optional<Tensor>& tensor : value.toOptionalTensorVector())
        list.push_back(tensor ? std::optional<Tensor>(swapped(*tensor, false, true)) : tensor);
      value = list;
    } else if (value.isDevice()) {
      value = Device(c10::kCPU);
    } else if (argument.type()->str() == "Generator?") {
      value = usable(value.toOptional<at::Generator>());
    }
  }

  void refuse_mixed() const {
    TORCH_CHECK(!any_here || (!any_on_cpu && (numbers < 2 || schema.name() == "aten::where")),
                "Expected all tensors to be on the same device, but found at least two devices, ",
                HERE, " and cpu! (", schema.name(), ")");
  }

  // What was resized in the place of an empty tensor is copied there; a tensor that an operator laid
  // out anew, as one whose channels are last, is laid out so too.
  void write_back() const {
    for (const auto& [alias, tensor] : aliases) {
      if (alias.sizes().equals(tensor.sizes())) {
        if (tensor.numel() && !alias.strides().equals(tensor.strides()))
          tensor.unsafeGetTensorImpl()->set_sizes_and_strides(
              alias.sizes(), alias.strides(), tensor.storage_offset());
        continue;
      }
      resize(tensor, c10::fromIntArrayRefSlow(alias.sizes()), std::nullopt);
      alias_of(tensor).copy_(alias);
    }
  }

  Tensor returned(const Tensor& tensor) const {
    if (!tensor.defined() || !tensor.is_cpu()) return tensor;
    for (const auto& [alias, own] : aliases)
      if (alias.is_same(tensor)) return own;
    for (const auto& [alias, own] : aliases)
      if (tensor.storage().nbytes() && alias.storage().data() == tensor.storage().data())
        return laid_out(c10::Storage(own.storage()), KEYS, tensor);
    return brought_here(tensor);
  }

  void give_back(IValue& value) const {
    if (value.isTensor()) {
      value = returned(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& tensor : value.toTensorVector()) list.push_back(returned(tensor));
      value = list;
    }
  }
};

void run_on_aliases(const c10::OperatorHandle& op, c10::Stack* stack) {
  Operands operands(op);
  const auto& arguments = op.schema().arguments();
  const size_t first = stack->size() - arguments.size();
  for (size_t i = 0; i < arguments.size(); i++) operands.swap((*stack)[first + i], arguments[i]);
  operands.refuse_mixed();
  {
    const at::AutoDispatchBelowADInplaceOrView below;
    op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);
  }
  operands.write_back();
  const size_t results = op.schema().returns().size();
  for (size_t i = stack->size() - results; i < stack->size(); i++) operands.give_back((*stack)[i]);
}

// -- autocast --------------------------------------------------------------------------------------

Tensor cast(const Tensor& tensor, at::ScalarType type) {
  const bool is_cast = is_here(tensor) && tensor.is_floating_point() && tensor.dtype() != at::kDouble;
  return is_cast && tensor.dtype() != type ? tensor.to(type) : tensor;
}

template <bool is_lower>
void run_cast(const c10::OperatorHandle& op, c10::Stack* stack) {
  const c10::impl::ExcludeDispatchKeyGuard without(DispatchKey::AutocastPrivateUse1);
  const auto type = is_lower ? at::autocast::get_autocast_dtype(HERE.type()) : at::kFloat;
  for (size_t i = stack->size() - op.schema().arguments().size(); i < stack->size(); i++)
    if ((*stack)[i].isTensor()) (*stack)[i] = cast((*stack)[i].toTensor(), type);
  op.callBoxed(stack);
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("_copy_from", copy_from);
  library.impl("_copy_from_and_resize", copy_and_resize);
  library.impl("_local_scalar_dense", local_scalar);
  library.impl("set_.source_Storage_storage_offset", set_storage);
  library.impl("resize_", resize);
  library.impl("as_strided", at::native::as_strided_tensorimpl);
  library.impl("view", at::native::view);
  library.impl("_reshape_alias", at::native::_reshape_alias);
  library.impl("convolution_overrideable", convolution);
  library.impl("convolution_backward_overrideable", convolution_backward);
  library.impl("_fused_sdp_choice", plain_attention);
  // Its composite form views its input as flat, which others than CUDA may lay out otherwise.
  library.impl("native_group_norm", torch::CppFunction::makeFromBoxedFunction<&run_on_aliases>());
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_aliases>());
}

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, library) {
  for (const char* name : {"conv1d", "conv2d", "conv3d", "linear", "matmul", "mm", "bmm", "addmm",
                           "baddbmm", "addbmm", "scaled_dot_product_attention"})
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&run_cast<true>>());
  for (const char* name : {"layer_norm", "group_norm", "softmax.int", "log_softmax.int",
                           "mse_loss", "l1_loss", "smooth_l1_loss", "pow.Tensor_Scalar", "exp",
                           "rsqrt", "sum", "prod", "norm.Scalar", "cumsum"})
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&run_cast<false>>());
}

TORCH_LIBRARY(second_device, library) {
  library.def("set_limit(int bytes) -> ()", [](int64_t bytes) { limit = bytes; });
  library.def("used() -> int", []() -> int64_t { return used; });
  library.def("peak() -> int", []() -> int64_t { return peak; });
  library.def("forget() -> ()", []() {
    peak = used.load();
    reads = writes = 0;
  });
  library.def("reads() -> int", []() -> int64_t { return reads; });
  library.def("writes() -> int", []() -> int64_t { return writes; });
  library.def("seed(int seed) -> ()", [](int64_t seed) {
    static_cast<Numbers*>(default_generator().unsafeGetGeneratorImpl())->set_current_seed(seed);
  });
  library.def("random_state() -> Tensor", []() { return default_generator().get_state(); });
  library.def("set_random_state(Tensor state) -> ()", [](const Tensor& state) {
    default_generator().unsafeGetGeneratorImpl()->set_state(*state.unsafeGetTensorImpl());
  });
}

static const bool is_registered = [] {
  static Hooks hooks;
  at::RegisterPrivateUse1HooksInterface(&hooks);
  return true;
}();
