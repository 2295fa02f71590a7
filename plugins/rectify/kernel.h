// The rectification kernel, for any caller: raw pointers, one struct of parameters, a stream.
//
//     y[n, c, h, w] <- r[h, w] * y[n, c, h, w] + bias[c] * m[h, w]      in place
//
// r = numerator / v, where v is the number of the window's taps inside the convolution's input, and r = 0 where v = 0;
// m = 1, or [v > 0] without empty_bias. `biased`: y has the bias already, and
//
//     y[n, c, h, w] <- r[h, w] * y[n, c, h, w] + bias[c] * (m[h, w] - r[h, w])
//
// Where r = 1 and nothing is added, memory is neither read nor written: in the sum mode the cost is proportional to the
// border, if the bias is absent, 0, or in y already. Factors are computed; there is no table of them.
#pragma once

#include <cstdint>

#include "geometry.h"

struct CUstream_st;

namespace rectexport {

using Stream = CUstream_st*;  // cudaStream_t

enum class ElementType : std::int32_t { kFloat32, kFloat16, kBFloat16 };

enum class Layout : std::int32_t {
    kNchw,
    kNhwc,
    kNhwc8,  // the channels of a pixel padded to a multiple of 8
};

struct RectifyParams {
    void* y;           // device memory, N, C and H_out, W_out in `layout`
    const void* bias;  // device memory, [C] of the same element type; null for none
    std::int64_t batch;
    std::int64_t channels;
    Window window;
    bool empty_bias;
    bool biased;
    ElementType type;
    Layout layout;
};

// Why sizes and window are invalid, or null if they are valid. The pointers are not checked.
const char* rectify_fault(const RectifyParams& params) noexcept;

// Bytes that y takes up.
std::int64_t rectify_bytes(const RectifyParams& params) noexcept;

// Starts the kernel. Returns a cudaError_t, 0 being success; for a fault or a null y, cudaErrorInvalidValue.
int rectify_launch(const RectifyParams& params, Stream stream) noexcept;

// Starts a copy between device buffers. Returns a cudaError_t.
int rectify_copy(void* to, const void* from, std::int64_t bytes, Stream stream) noexcept;

// The text of a cudaError_t.
const char* rectify_status_text(int status) noexcept;

}  // namespace rectexport
