// Creates Rectify plugins from the attributes of an ONNX node or of a serialized engine.
#pragma once

#include <NvInferRuntime.h>

#include "attributes.h"

namespace rectexport {

class RectifyCreator final : public nvinfer1::IPluginCreatorV3One {
public:
    // `name_space` must outlive the creator.
    explicit RectifyCreator(const char* name_space) noexcept;

    nvinfer1::IPluginV3* createPlugin(const char* name,
                                      const nvinfer1::PluginFieldCollection* fields,
                                      nvinfer1::TensorRTPhase phase) noexcept override;
    const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override;
    const char* getPluginName() const noexcept override;
    const char* getPluginVersion() const noexcept override;
    const char* getPluginNamespace() const noexcept override;

private:
    const char* name_space_;
    AttributeFields fields_;
    nvinfer1::PluginFieldCollection collection_;
};

}  // namespace rectexport
