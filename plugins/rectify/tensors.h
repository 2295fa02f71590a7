// Converts TensorRT's descriptions of the tensors y, x and bias into the kernel's parameters.
#pragma once

#include <NvInferRuntime.h>

#include "attributes.h"
#include "kernel.h"

namespace rectexport {

constexpr std::int32_t kY = 0;
constexpr std::int32_t kX = 1;
constexpr std::int32_t kBias = 2;

// Throws std::invalid_argument unless the inputs are y, x and optionally bias, and there is one output.
void check_counts(std::int32_t inputs, std::int32_t outputs);

// Throws std::invalid_argument unless the ranks are right and the known sizes agree (-1 is an unknown size).
void check_shapes(const nvinfer1::Dims& y, const nvinfer1::Dims& x, const nvinfer1::Dims* bias);

// Whether the tensor at `position` (inputs first, then the output) may have its type and format, given those before.
bool supports(std::int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors, std::int32_t inputs) noexcept;

// The kernel's parameters, with null for y and bias. Throws std::invalid_argument for shapes that do not fit.
RectifyParams parameters(const Attributes& attributes,
                         const nvinfer1::PluginTensorDesc* inputs,
                         std::int32_t input_count);

}  // namespace rectexport
