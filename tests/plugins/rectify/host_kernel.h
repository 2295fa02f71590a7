#pragma once

namespace rectexport::testing {

// What the kernel on host memory was asked to do, and what it is to answer.
struct HostKernel {
    int launches = 0;
    int copies = 0;
    int status = 0;
};

extern HostKernel host_kernel;

}  // namespace rectexport::testing
