#include "attributes.h"

#include <limits>
#include <stdexcept>
#include <string_view>

namespace rectexport {
namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;

constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();

// Calls visit(name, values, least, most) for every attribute.
template <class Held, class Visit>
void for_each(Held& attributes, Visit visit) {
    visit("kernel_shape", attributes.kernel_shape, 1, kMost);
    visit("strides", attributes.strides, 1, kMost);
    visit("pads", attributes.pads, 0, kMost);
    visit("dilations", attributes.dilations, 1, kMost);
    visit("numerator", attributes.numerator, 0, kMost);
    visit("empty_bias", attributes.empty_bias, 0, 1);
    visit("biased", attributes.biased, 0, 1);
}

[[noreturn]] void refuse(std::string_view name, const std::string& why) {
    throw std::invalid_argument("Rectify: attribute " + std::string(name) + ": " + why);
}

bool is_optional(std::string_view name) { return name == "biased"; }

// The field, or null if the node does not have it.
const PluginField* find(const PluginFieldCollection& collection, std::string_view name) {
    for (std::int32_t index = 0; index < collection.nbFields; ++index) {
        const PluginField& field = collection.fields[index];
        if (field.name != nullptr && name == field.name) {
            return &field;
        }
    }
    return nullptr;
}

// TensorRT's parser narrows ONNX integers to 32 bits; a network built through the API may pass 64.
std::int64_t element(const PluginField& field, std::int32_t index) {
    return field.type == PluginFieldType::kINT64 ? static_cast<const std::int64_t*>(field.data)[index]
                                                 : static_cast<const std::int32_t*>(field.data)[index];
}

void check_kind(std::string_view name, const PluginField& field, std::size_t length) {
    if (field.type != PluginFieldType::kINT32 && field.type != PluginFieldType::kINT64) {
        refuse(name, "expected integers, got field type " + std::to_string(static_cast<int>(field.type)));
    }
    if (field.data == nullptr || field.length < 0 || static_cast<std::size_t>(field.length) != length) {
        const std::string found = field.data == nullptr ? "no data" : std::to_string(field.length);
        refuse(name, "expected " + std::to_string(length) + " integers, got " + found);
    }
}

}  // namespace

AttributeFields fields_of(const Attributes& attributes) noexcept {
    AttributeFields fields{};
    std::size_t next = 0;
    for_each(attributes, [&](const char* name, const auto& values, std::int32_t, std::int32_t) {
        const auto length = static_cast<std::int32_t>(values.size());
        fields.at(next++) = PluginField(name, values.data(), PluginFieldType::kINT32, length);
    });
    return fields;
}

Attributes read_attributes(const PluginFieldCollection* fields) {
    if (fields == nullptr || (fields->fields == nullptr && fields->nbFields > 0)) {
        throw std::invalid_argument("Rectify: expected a collection of attributes, got a null pointer");
    }
    Attributes attributes{};
    for_each(attributes, [&](std::string_view name, auto& values, std::int32_t least, std::int32_t most) {
        const PluginField* const found = find(*fields, name);
        if (found == nullptr && is_optional(name)) {
            return;
        }
        if (found == nullptr) {
            refuse(name, "expected, but the node does not have it");
        }
        const PluginField& field = *found;
        check_kind(name, field, values.size());
        for (std::int32_t index = 0; index < field.length; ++index) {
            const std::int64_t value = element(field, index);
            if (value < least || value > most) {
                const std::string bounds = std::to_string(least) + " to " + std::to_string(most);
                refuse(name, "expected " + bounds + ", got " + std::to_string(value));
            }
            values.at(static_cast<std::size_t>(index)) = static_cast<std::int32_t>(value);
        }
    });
    return attributes;
}

std::string text_of(const Attributes& attributes) {
    std::string text;
    for_each(attributes, [&](std::string_view name, const auto& values, std::int32_t, std::int32_t) {
        text += (text.empty() ? "" : " ") + std::string(name) + "=";
        for (std::size_t index = 0; index < values.size(); ++index) {
            text += (index == 0 ? "" : ",") + std::to_string(values.at(index));
        }
    });
    return text;
}

}  // namespace rectexport
