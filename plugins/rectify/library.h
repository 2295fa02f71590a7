// The functions that TensorRT looks up in a plugin library. Nothing else is exported.
#pragma once

#include <NvInferRuntime.h>

// TensorRT's own macro TENSORRTAPI exports nothing outside TensorRT's build.
#define RECTEXPORT_EXPORT __attribute__((visibility("default")))

extern "C" {

// The creators, owned by the library: one in the dialect's domain and one in the empty namespace, which is where
// TensorRT's ONNX parser looks for a node without an attribute plugin_namespace.
RECTEXPORT_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& count);

RECTEXPORT_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder);
}
