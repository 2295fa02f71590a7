#include <cuda_runtime_api.h>

#include "kernel.h"
#include "plan.h"
#include "walk.h"

namespace rectexport {
namespace {

template <class Way>
__global__ void rectify_kernel(RectifyParams params, Plan plan) {
    const auto index = [](unsigned block, unsigned size, unsigned thread) {
        return static_cast<std::int64_t>(block) * size + thread;
    };
    const auto stride = [](unsigned blocks, unsigned size) { return static_cast<std::int64_t>(blocks) * size; };
    const Walk path{
        {index(blockIdx.x, blockDim.x, threadIdx.x), index(blockIdx.y, blockDim.y, threadIdx.y), blockIdx.z},
        {stride(gridDim.x, blockDim.x), stride(gridDim.y, blockDim.y), gridDim.z}};
    Way::walk(params, plan, path);
}

dim3 as_dim3(const Extent& extent) {
    return {static_cast<unsigned>(extent.x), static_cast<unsigned>(extent.y), static_cast<unsigned>(extent.z)};
}

}  // namespace

int rectify_launch(const RectifyParams& params, Stream stream) noexcept {
    if (rectify_fault(params) != nullptr || params.y == nullptr) {
        return cudaErrorInvalidValue;
    }
    Plan plan = rectify_plan(params);
    if (params.batch == 0 || plan.items() == 0) {
        return cudaSuccess;
    }
    RectifyParams copied = params;
    void* arguments[] = {&copied, &plan};
    return with_walk(params, plan, [&](auto way) -> int {
        const auto kernel = &rectify_kernel<decltype(way)>;
        return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), as_dim3(plan.grid), as_dim3(plan.block),
                                arguments, 0, stream);
    });
}

int rectify_copy(void* to, const void* from, std::int64_t bytes, Stream stream) noexcept {
    return cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice, stream);
}

const char* rectify_status_text(int status) noexcept { return cudaGetErrorString(static_cast<cudaError_t>(status)); }

}  // namespace rectexport
