// The attributes of the dialect's Rectify node, as fields of TensorRT.
#pragma once

#include <NvInferRuntime.h>

#include <array>
#include <cstdint>
#include <string>

namespace rectexport {

struct Attributes {
    std::array<std::int32_t, 2> kernel_shape;
    std::array<std::int32_t, 2> strides;
    std::array<std::int32_t, 4> pads;  // top, left, bottom, right
    std::array<std::int32_t, 2> dilations;
    std::array<std::int32_t, 1> numerator;
    std::array<std::int32_t, 1> empty_bias;
    std::array<std::int32_t, 1> biased;  // 0 for a node without it
};

constexpr int kAttributeCount = 7;
using AttributeFields = std::array<nvinfer1::PluginField, kAttributeCount>;

// Fields that point into `attributes`, in the order in which they are serialized.
AttributeFields fields_of(const Attributes& attributes) noexcept;

// Throws std::invalid_argument that names the attribute, what was expected and what was found.
Attributes read_attributes(const nvinfer1::PluginFieldCollection* fields);

// "kernel_shape=3,3 strides=1,1 ...": equal only for equal attributes.
std::string text_of(const Attributes& attributes);

}  // namespace rectexport
