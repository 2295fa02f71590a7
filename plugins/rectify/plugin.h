// The TensorRT plugin of the dialect's Rectify node: z = Rectify(y, x[, bias]), in place where TensorRT allows it.
#pragma once

#include <NvInferRuntime.h>

#include <string>

#include "attributes.h"

namespace rectexport {

// The operator's name in export/graph/dialect.py, and the dialect's version.
constexpr const char* kPluginName = "Rectify";
constexpr const char* kPluginVersion = "1";

class RectifyPlugin final : public nvinfer1::IPluginV3,
                            public nvinfer1::IPluginV3OneCore,
                            public nvinfer1::IPluginV3OneBuildV2,
                            public nvinfer1::IPluginV3OneRuntime {
public:
    // `name_space` must outlive the plugin.
    RectifyPlugin(const Attributes& attributes, const char* name_space);

    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
    nvinfer1::IPluginV3* clone() noexcept override;

    const char* getPluginName() const noexcept override;
    const char* getPluginVersion() const noexcept override;
    const char* getPluginNamespace() const noexcept override;

    std::int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* inputs,
                                 std::int32_t input_count,
                                 const nvinfer1::DynamicPluginTensorDesc* outputs,
                                 std::int32_t output_count) noexcept override;
    std::int32_t getOutputDataTypes(nvinfer1::DataType* types,
                                    std::int32_t output_count,
                                    const nvinfer1::DataType* input_types,
                                    std::int32_t input_count) const noexcept override;
    std::int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs,
                                 std::int32_t input_count,
                                 const nvinfer1::DimsExprs* shape_inputs,
                                 std::int32_t shape_input_count,
                                 nvinfer1::DimsExprs* outputs,
                                 std::int32_t output_count,
                                 nvinfer1::IExprBuilder& builder) noexcept override;
    bool supportsFormatCombination(std::int32_t position,
                                   const nvinfer1::DynamicPluginTensorDesc* tensors,
                                   std::int32_t input_count,
                                   std::int32_t output_count) noexcept override;
    std::int32_t getNbOutputs() const noexcept override;
    const char* getTimingCacheID() noexcept override;
    const char* getMetadataString() noexcept override;
    std::int32_t getAliasedInput(std::int32_t output) noexcept override;

    std::int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs,
                               std::int32_t input_count,
                               const nvinfer1::PluginTensorDesc* outputs,
                               std::int32_t output_count) noexcept override;
    std::int32_t enqueue(const nvinfer1::PluginTensorDesc* input_descriptions,
                         const nvinfer1::PluginTensorDesc* output_descriptions,
                         const void* const* inputs,
                         void* const* outputs,
                         void* workspace,
                         cudaStream_t stream) noexcept override;
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
    const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override;

private:
    Attributes attributes_;
    const char* name_space_;
    std::string text_;
    std::int32_t input_count_ = 0;  // enqueue has no argument for it
    AttributeFields fields_{};
    nvinfer1::PluginFieldCollection collection_{};
};

}  // namespace rectexport
