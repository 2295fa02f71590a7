#pragma once

namespace rectexport::testing {

// How often the kernel on host memory was called, and the status that it returns.
struct HostKernel {
    int launches = 0;
    int copies = 0;
    int status = 0;
};

extern HostKernel host_kernel;

}  // namespace rectexport::testing
