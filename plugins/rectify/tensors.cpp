#include "tensors.h"

#include <stdexcept>
#include <string>

#include "plan.h"

namespace rectexport {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;

constexpr std::int64_t kFloatsInVector = kVectorBytes / sizeof(float);

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument("Rectify: " + why); }

std::string text_of(const Dims& dims) {
    std::string text = "[";
    for (std::int32_t index = 0; index < dims.nbDims; ++index) {
        text += (index == 0 ? "" : ", ") + std::to_string(dims.d[index]);
    }
    return text + "]";
}

void check_rank(const char* name, const Dims& dims, std::int32_t rank) {
    if (dims.nbDims != rank) {
        refuse(std::string(name) + ": expected rank " + std::to_string(rank) + ", got shape " + text_of(dims));
    }
}

bool may_equal(std::int64_t a, std::int64_t b) { return a < 0 || b < 0 || a == b; }

// HWC alone loses where the channels do not fill the kernel's vectors: what is not offered, TensorRT need not time.
bool fills_vectors(const Dims& y) { return y.nbDims != 4 || y.d[1] < 0 || y.d[1] % kFloatsInVector == 0; }

bool may_be_y(const PluginTensorDesc& tensor) {
    const bool full = tensor.type == DataType::kFLOAT;
    const bool half = tensor.type == DataType::kHALF || tensor.type == DataType::kBF16;
    switch (tensor.format) {
        case TensorFormat::kLINEAR:
            return full || half;
        case TensorFormat::kHWC:
            return full && fills_vectors(tensor.dims);
        case TensorFormat::kHWC8:
            return half;
        default:
            return false;
    }
}

ElementType element_type(DataType type) {
    switch (type) {
        case DataType::kFLOAT:
            return ElementType::kFloat32;
        case DataType::kHALF:
            return ElementType::kFloat16;
        case DataType::kBF16:
            return ElementType::kBFloat16;
        default:
            refuse("y: expected float32, float16 or bfloat16, got type " + std::to_string(static_cast<int>(type)));
    }
}

Layout layout(TensorFormat format) {
    switch (format) {
        case TensorFormat::kLINEAR:
            return Layout::kNchw;
        case TensorFormat::kHWC:
            return Layout::kNhwc;
        case TensorFormat::kHWC8:
            return Layout::kNhwc8;
        default:
            refuse("y: expected format LINEAR, HWC or HWC8, got format " + std::to_string(static_cast<int>(format)));
    }
}

// Axis 0 is the rows, 1 the columns.
Axis axis(const Attributes& attributes, const Dims& y, const Dims& x, std::size_t index) {
    const auto dim = static_cast<std::int32_t>(index) + 2;
    return {x.d[dim],
            y.d[dim],
            attributes.kernel_shape.at(index),
            attributes.strides.at(index),
            attributes.pads.at(index),
            attributes.pads.at(index + 2),
            attributes.dilations.at(index)};
}

}  // namespace

void check_counts(std::int32_t inputs, std::int32_t outputs) {
    if (inputs < 2 || inputs > 3 || outputs != 1) {
        refuse("expected the inputs y, x and optionally bias, and one output, got " + std::to_string(inputs) +
               " inputs and " + std::to_string(outputs) + " outputs");
    }
}

void check_shapes(const Dims& y, const Dims& x, const Dims* bias) {
    check_rank("y", y, 4);
    check_rank("x", x, 4);
    if (!may_equal(y.d[0], x.d[0])) {
        refuse("expected equal batches, got y " + text_of(y) + " and x " + text_of(x));
    }
    if (bias != nullptr) {
        check_rank("bias", *bias, 1);
        if (!may_equal(bias->d[0], y.d[1])) {
            refuse("bias: expected one number for each channel of y " + text_of(y) + ", got shape " + text_of(*bias));
        }
    }
}

bool supports(std::int32_t position, const DynamicPluginTensorDesc* tensors, std::int32_t inputs) noexcept {
    const PluginTensorDesc& y = tensors[kY].desc;
    const PluginTensorDesc& tensor = tensors[position].desc;
    if (position == kY) {
        return may_be_y(tensor);
    }
    if (position == kX) {
        return true;  // only its shape is used
    }
    if (position == kBias && inputs == 3) {
        return tensor.type == y.type && tensor.format == TensorFormat::kLINEAR;
    }
    return tensor.type == y.type && tensor.format == y.format;
}

RectifyParams parameters(const Attributes& attributes, const PluginTensorDesc* inputs, std::int32_t input_count) {
    check_counts(input_count, 1);
    const Dims& y = inputs[kY].dims;
    const Dims& x = inputs[kX].dims;
    check_shapes(y, x, input_count == 3 ? &inputs[kBias].dims : nullptr);
    RectifyParams params{};
    params.batch = y.d[0];
    params.channels = y.d[1];
    params.window = {axis(attributes, y, x, 0), axis(attributes, y, x, 1), attributes.numerator.front()};
    params.empty_bias = attributes.empty_bias.front() != 0;
    params.biased = attributes.biased.front() != 0;
    params.type = element_type(inputs[kY].type);
    params.layout = layout(inputs[kY].format);
    if (const char* fault = rectify_fault(params)) {
        refuse(std::string(fault) + ": y " + text_of(y) + ", x " + text_of(x) + ", " + text_of(attributes));
    }
    return params;
}

}  // namespace rectexport
