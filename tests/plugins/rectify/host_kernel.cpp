// The kernel's interface on host memory; the adapter's tests link it instead of the kernel.
#include "host_kernel.h"

#include <cstring>

#include "host.h"
#include "kernel.h"

namespace rectexport {
namespace testing {

HostKernel host_kernel;

}  // namespace testing

int rectify_launch(const RectifyParams& params, Stream) noexcept {
    ++testing::host_kernel.launches;
    return testing::host_kernel.status != 0 || rectify_on_host(params) != nullptr ? 1 : 0;
}

int rectify_copy(void* to, const void* from, std::int64_t bytes, Stream) noexcept {
    ++testing::host_kernel.copies;
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
    return 0;
}

const char* rectify_status_text(int status) noexcept { return status == 0 ? "no error" : "no device"; }

}  // namespace rectexport
