// float16 and bfloat16 as bits, with conversions that agree on the CPU and the GPU.
#pragma once

#include <cstdint>
#include <cstring>

#include "geometry.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace rectexport {

struct Half {
    std::uint16_t bits;
};

struct BFloat16 {
    std::uint16_t bits;
};

RECTEXPORT_BOTH inline std::uint32_t bits_of(float value) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

RECTEXPORT_BOTH inline float float_of(std::uint32_t bits) {
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

RECTEXPORT_BOTH inline float to_float(float value) { return value; }

RECTEXPORT_BOTH inline float to_float(Half value) {
#if defined(__CUDA_ARCH__)
    return __half2float(__ushort_as_half(value.bits));
#else
    const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000U) << 16;
    const std::uint32_t magnitude = value.bits & 0x7FFFU;
    if (magnitude < 0x0400U) {  // zero and subnormal: multiples of 2^-24
        const float small = static_cast<float>(magnitude) * 0x1p-24F;
        return sign != 0 ? -small : small;
    }
    const std::uint32_t bias = magnitude >= 0x7C00U ? 0x70000000U : 0x38000000U;  // infinity, NaN: keep them
    return float_of(sign | ((magnitude << 13) + bias));
#endif
}

RECTEXPORT_BOTH inline float to_float(BFloat16 value) { return float_of(static_cast<std::uint32_t>(value.bits) << 16); }

RECTEXPORT_BOTH inline void from_float(float value, float& out) { out = value; }

// Rounds to nearest, ties to even; values that are too large become infinity.
RECTEXPORT_BOTH inline void from_float(float value, Half& out) {
#if defined(__CUDA_ARCH__)
    out.bits = __half_as_ushort(__float2half_rn(value));
#else
    const std::uint32_t bits = bits_of(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000U;
    const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
    std::uint32_t result = 0;
    if (magnitude > 0x7F800000U) {  // NaN
        result = 0x7FFFU;
    } else if (magnitude >= 0x477FF000U) {  // 65520 and more round to infinity
        result = 0x7C00U;
    } else if (magnitude >= 0x38800000U) {  // normal: move the exponent, round away 13 bits
        const std::uint32_t odd = (magnitude >> 13) & 1U;
        result = (magnitude - 0x38000000U + 0x0FFFU + odd) >> 13;
    } else {  // subnormal: adding 0.5 leaves multiples of 2^-24 in the low bits, rounded by the addition
        result = bits_of(float_of(magnitude) + 0.5F) - bits_of(0.5F);
    }
    out.bits = static_cast<std::uint16_t>(sign | result);
#endif
}

RECTEXPORT_BOTH inline void from_float(float value, BFloat16& out) {
#if defined(__CUDA_ARCH__)
    out.bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
    const std::uint32_t bits = bits_of(value);
    const bool nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
    const std::uint32_t rounded = nan ? 0x7FFF0000U : bits + 0x7FFFU + ((bits >> 16) & 1U);
    out.bits = static_cast<std::uint16_t>(rounded >> 16);
#endif
}

}  // namespace rectexport
