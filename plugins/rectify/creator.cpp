#include "creator.h"

#include <memory>
#include <stdexcept>
#include <string>

#include "plugin.h"
#include "report.h"

namespace rectexport {
namespace {

// Names and types only: the collection describes the fields, so it has no values and no lengths.
AttributeFields field_names() noexcept {
    AttributeFields fields = fields_of(Attributes{});
    for (nvinfer1::PluginField& field : fields) {
        field.data = nullptr;
        field.length = 0;
    }
    return fields;
}

}  // namespace

RectifyCreator::RectifyCreator(const char* name_space) noexcept
    : name_space_(name_space), fields_(field_names()), collection_{kAttributeCount, fields_.data()} {}

nvinfer1::IPluginV3* RectifyCreator::createPlugin(const char* name,
                                                  const nvinfer1::PluginFieldCollection* fields,
                                                  nvinfer1::TensorRTPhase /*phase*/) noexcept {
    return guarded<nvinfer1::IPluginV3*>(nullptr, [&]() -> nvinfer1::IPluginV3* {
        try {
            return std::make_unique<RectifyPlugin>(read_attributes(fields), name_space_).release();
        } catch (const std::invalid_argument& error) {
            throw std::invalid_argument(std::string(name == nullptr ? "" : name) + ": " + error.what());
        }
    });
}

const nvinfer1::PluginFieldCollection* RectifyCreator::getFieldNames() noexcept { return &collection_; }

const char* RectifyCreator::getPluginName() const noexcept { return kPluginName; }

const char* RectifyCreator::getPluginVersion() const noexcept { return kPluginVersion; }

const char* RectifyCreator::getPluginNamespace() const noexcept { return name_space_; }

}  // namespace rectexport
