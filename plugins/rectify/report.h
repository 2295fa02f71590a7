// Report the plugin's errors to TensorRT's logger, and let no exception leave the plugin.
#pragma once

#include <NvInferRuntime.h>

#include <exception>

namespace rectexport {

// Sets TensorRT's object for finding loggers; null removes it.
void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept;

// Logs an error with TensorRT's logger, or on stderr if TensorRT has not provided one.
void report_error(const char* message) noexcept;

// Returns what `act` returns; if it throws, reports the exception and returns `failed`.
template <class Result, class Act>
Result guarded(Result failed, Act&& act) noexcept {
    try {
        return act();
    } catch (const std::exception& error) {
        report_error(error.what());
    } catch (...) {
        report_error("Rectify: an exception that is not a std::exception was thrown");
    }
    return failed;
}

}  // namespace rectexport
