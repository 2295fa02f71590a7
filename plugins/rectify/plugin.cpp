#include "plugin.h"

#include <memory>
#include <stdexcept>

#include "kernel.h"
#include "report.h"
#include "tensors.h"

static_assert(NV_TENSORRT_MAJOR > 10 || (NV_TENSORRT_MAJOR == 10 && NV_TENSORRT_MINOR >= 3),
              "the plugin needs the headers of TensorRT 10.3 or newer: IPluginV3OneBuildV2");

namespace rectexport {
namespace {

using nvinfer1::DataType;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginCapabilityType;
using nvinfer1::PluginTensorDesc;

constexpr std::int32_t kGood = 0;
constexpr std::int32_t kFailed = 1;

void check_status(int status, const char* doing) {
    if (status != 0) {
        throw std::runtime_error(std::string("Rectify: ") + doing + ": " + rectify_status_text(status));
    }
}

}  // namespace

RectifyPlugin::RectifyPlugin(const Attributes& attributes, const char* name_space)
    : attributes_(attributes), name_space_(name_space), text_(text_of(attributes)) {}

nvinfer1::IPluginCapability* RectifyPlugin::getCapabilityInterface(PluginCapabilityType type) noexcept {
    switch (type) {
        case PluginCapabilityType::kCORE:
            return static_cast<nvinfer1::IPluginV3OneCore*>(this);
        case PluginCapabilityType::kBUILD:
            return static_cast<nvinfer1::IPluginV3OneBuildV2*>(this);
        case PluginCapabilityType::kRUNTIME:
            return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
}

nvinfer1::IPluginV3* RectifyPlugin::clone() noexcept {
    return guarded<nvinfer1::IPluginV3*>(nullptr, [&] { return std::make_unique<RectifyPlugin>(*this).release(); });
}

const char* RectifyPlugin::getPluginName() const noexcept { return kPluginName; }

const char* RectifyPlugin::getPluginVersion() const noexcept { return kPluginVersion; }

const char* RectifyPlugin::getPluginNamespace() const noexcept { return name_space_; }

std::int32_t RectifyPlugin::configurePlugin(const DynamicPluginTensorDesc* inputs,
                                            std::int32_t input_count,
                                            const DynamicPluginTensorDesc* /*outputs*/,
                                            std::int32_t output_count) noexcept {
    return guarded(kFailed, [&] {
        check_counts(input_count, output_count);
        check_shapes(inputs[kY].desc.dims, inputs[kX].desc.dims, input_count == 3 ? &inputs[kBias].desc.dims : nullptr);
        input_count_ = input_count;
        return kGood;
    });
}

std::int32_t RectifyPlugin::getOutputDataTypes(DataType* types,
                                               std::int32_t output_count,
                                               const DataType* input_types,
                                               std::int32_t input_count) const noexcept {
    return guarded(kFailed, [&] {
        check_counts(input_count, output_count);
        types[0] = input_types[kY];
        return kGood;
    });
}

std::int32_t RectifyPlugin::getOutputShapes(const DimsExprs* inputs,
                                            std::int32_t input_count,
                                            const DimsExprs* /*shape_inputs*/,
                                            std::int32_t shape_input_count,
                                            DimsExprs* outputs,
                                            std::int32_t output_count,
                                            nvinfer1::IExprBuilder& /*builder*/) noexcept {
    return guarded(kFailed, [&] {
        check_counts(input_count, output_count);
        if (shape_input_count != 0 || inputs[kY].nbDims != 4 || inputs[kX].nbDims != 4) {
            throw std::invalid_argument("Rectify: expected y and x of rank 4 and no shape inputs");
        }
        outputs[0] = inputs[kY];
        return kGood;
    });
}

bool RectifyPlugin::supportsFormatCombination(std::int32_t position,
                                              const DynamicPluginTensorDesc* tensors,
                                              std::int32_t input_count,
                                              std::int32_t output_count) noexcept {
    return guarded(false, [&] {
        check_counts(input_count, output_count);
        return supports(position, tensors, input_count);
    });
}

std::int32_t RectifyPlugin::getNbOutputs() const noexcept { return 1; }

const char* RectifyPlugin::getTimingCacheID() noexcept { return text_.c_str(); }

const char* RectifyPlugin::getMetadataString() noexcept { return text_.c_str(); }

std::int32_t RectifyPlugin::getAliasedInput(std::int32_t output) noexcept { return output == 0 ? kY : -1; }

std::int32_t RectifyPlugin::onShapeChange(const PluginTensorDesc* inputs,
                                          std::int32_t input_count,
                                          const PluginTensorDesc* /*outputs*/,
                                          std::int32_t output_count) noexcept {
    return guarded(kFailed, [&] {
        check_counts(input_count, output_count);
        parameters(attributes_, inputs, input_count);
        input_count_ = input_count;
        return kGood;
    });
}

std::int32_t RectifyPlugin::enqueue(const PluginTensorDesc* input_descriptions,
                                    const PluginTensorDesc* /*output_descriptions*/,
                                    const void* const* inputs,
                                    void* const* outputs,
                                    void* /*workspace*/,
                                    cudaStream_t stream) noexcept {
    return guarded(kFailed, [&] {
        RectifyParams params = parameters(attributes_, input_descriptions, input_count_);
        params.y = outputs[0];
        params.bias = input_count_ == 3 ? inputs[kBias] : nullptr;
        if (outputs[0] != inputs[kY]) {  // aliasing is a preview feature, which the builder may not have enabled
            check_status(rectify_copy(outputs[0], inputs[kY], rectify_bytes(params), stream), "copying y");
        }
        check_status(rectify_launch(params, stream), "starting the kernel");
        return kGood;
    });
}

nvinfer1::IPluginV3* RectifyPlugin::attachToContext(nvinfer1::IPluginResourceContext* /*context*/) noexcept {
    return clone();
}

const nvinfer1::PluginFieldCollection* RectifyPlugin::getFieldsToSerialize() noexcept {
    fields_ = fields_of(attributes_);
    collection_ = {kAttributeCount, fields_.data()};
    return &collection_;
}

}  // namespace rectexport
