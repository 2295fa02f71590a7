#include "library.h"

#include <cuda_runtime_api.h>

#include <array>

#include "creator.h"
#include "report.h"

nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& count) {
    static rectexport::RectifyCreator in_domain("rectexport");
    static rectexport::RectifyCreator in_no_namespace("");
    static const std::array<nvinfer1::IPluginCreatorInterface*, 2> creators{&in_domain, &in_no_namespace};
    count = static_cast<std::int32_t>(creators.size());
    return creators.data();
}

std::int32_t rectexportCudaVersion() { return CUDART_VERSION; }

void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { rectexport::set_logger_finder(finder); }
