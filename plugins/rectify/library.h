// What a plugin library exports: the functions that TensorRT looks up, and one that rectexport does.
#pragma once

#include <NvInferRuntime.h>

// TensorRT's own macro TENSORRTAPI exports nothing outside TensorRT's build.
#define RECTEXPORT_EXPORT __attribute__((visibility("default")))

extern "C" {

// The creators, owned by the library: one in the dialect's domain and one in the empty namespace, which is where
// TensorRT's ONNX parser looks for a node without an attribute plugin_namespace.
RECTEXPORT_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& count);

// The CUDA version that the library was built with, as in 13000; its statically linked runtime needs a driver of it.
RECTEXPORT_EXPORT std::int32_t rectexportCudaVersion();

RECTEXPORT_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder);
}
