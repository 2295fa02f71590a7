#include "report.h"

#include <atomic>
#include <cstdio>

namespace rectexport {
namespace {

std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

nvinfer1::ILogger* find_logger() noexcept {
    nvinfer1::ILoggerFinder* const finder = logger_finder.load();
    if (finder == nullptr) {
        return nullptr;
    }
    try {
        return finder->findLogger();
    } catch (...) {  // the interface does not promise noexcept
        return nullptr;
    }
}

}  // namespace

void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept { logger_finder.store(finder); }

void report_error(const char* message) noexcept {
    if (nvinfer1::ILogger* const logger = find_logger()) {
        logger->log(nvinfer1::ILogger::Severity::kERROR, message);
    } else {
        std::fprintf(stderr, "%s\n", message);
    }
}

}  // namespace rectexport
