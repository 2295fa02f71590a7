// The same walk on the CPU, one thread of the grid after another: for tests, where there is no GPU.
#pragma once

#include "kernel.h"

namespace rectexport {

// y and bias are host memory. Returns the parameters' fault, null after running them.
const char* rectify_on_host(const RectifyParams& params) noexcept;

}  // namespace rectexport
