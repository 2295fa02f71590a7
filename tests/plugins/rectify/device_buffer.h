// Shared by the GPU tests and the benchmark: device memory that frees itself, and errors that end the program.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

namespace rectexport::testing {

// Understood by CTest as "skipped".
constexpr int kSkipped = 77;

inline void must(int status, const char* doing) {
    if (status != cudaSuccess) {
        std::fprintf(stderr, "%s: %s\n", doing, cudaGetErrorString(static_cast<cudaError_t>(status)));
        std::exit(EXIT_FAILURE);
    }
}

// Ends the program as skipped if there is no device; otherwise prints which device is used.
inline void need_device() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess || count == 0) {
        std::printf("skipped: no CUDA device (%s)\n", cudaGetErrorString(status));
        std::exit(kSkipped);
    }
    cudaDeviceProp found{};
    must(cudaGetDeviceProperties(&found, 0), "reading the device's properties");
    std::printf("# %s, compute capability %d.%d\n", found.name, found.major, found.minor);
}

struct Release {
    void operator()(void* memory) const { cudaFree(memory); }
};

using DeviceBuffer = std::unique_ptr<unsigned char, Release>;

inline DeviceBuffer device_buffer(std::size_t bytes) {
    void* memory = nullptr;
    must(cudaMalloc(&memory, bytes == 0 ? 1 : bytes), "allocating device memory");
    return DeviceBuffer(static_cast<unsigned char*>(memory));
}

}  // namespace rectexport::testing
