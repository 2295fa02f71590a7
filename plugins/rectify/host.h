// Runs the kernel's code on the CPU, one thread of the grid after another, for tests without a GPU.
#pragma once

#include "kernel.h"

namespace rectexport {

// y and bias are host memory. Returns what rectify_fault finds, or null after success.
const char* rectify_on_host(const RectifyParams& params) noexcept;

}  // namespace rectexport
