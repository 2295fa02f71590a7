// Where the plugin's messages go, and how nothing that is thrown leaves it.
#pragma once

#include <NvInferRuntime.h>

#include <exception>

namespace rectexport {

// TensorRT's way to its loggers; null forgets it.
void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept;

// Logs an error with TensorRT's logger, or on stderr where TensorRT has offered none.
void report_error(const char* message) noexcept;

// What `act` returns, or `failed` after reporting what it threw.
template <class Result, class Act>
Result guarded(Result failed, Act&& act) noexcept {
    try {
        return act();
    } catch (const std::exception& error) {
        report_error(error.what());
    } catch (...) {
        report_error("Rectify: something that is no std::exception was thrown");
    }
    return failed;
}

}  // namespace rectexport
