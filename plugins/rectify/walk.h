// The work of one thread. The kernel runs it on the GPU; rectify_on_host runs it thread by thread on the CPU.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernel.h"
#include "numbers.h"
#include "plan.h"

namespace rectexport {

// Consecutive channels that are loaded and stored together.
template <class T, int N>
struct alignas(sizeof(T) * N) Lanes {
    using Element = T;
    static constexpr int kCount = N;
    T lane[N];
};

// A thread's first index on each axis, and the distance to its next.
struct Walk {
    Extent first;
    Extent step;
};

// How much of the bias is added at a pixel: m, or m - r where y has the bias already.
RECTEXPORT_BOTH inline float bias_share(const RectifyParams& params, float factor) {
    const float added = params.empty_bias || factor != 0.0F ? 1.0F : 0.0F;
    return params.biased ? added - factor : added;
}

// Reads the bias of each lane, from channel `first` on, times `share`; 0 past the last channel. Returns whether any is
// not 0.
template <class Vector>
RECTEXPORT_BOTH inline bool read_shifts(const RectifyParams& params, std::int64_t first, float share, float* shifts) {
    const auto* bias = static_cast<const typename Vector::Element*>(params.bias);
    bool any = false;
    for (int lane = 0; lane < Vector::kCount; ++lane) {
        shifts[lane] = first + lane < params.channels ? share * to_float(bias[first + lane]) : 0.0F;
        any = any || shifts[lane] != 0.0F;
    }
    return any;
}

template <class Vector>
RECTEXPORT_BOTH inline void scale(Vector& vector, float factor, const float* shifts) {
    Vector lanes = vector;
    for (int lane = 0; lane < Vector::kCount; ++lane) {
        from_float(std::fmaf(factor, to_float(lanes.lane[lane]), shifts[lane]), lanes.lane[lane]);
    }
    vector = lanes;
}

template <class Vector>
RECTEXPORT_BOTH inline void walk(const RectifyParams& params, const Plan& plan, const Walk& path) {
    auto* const y = static_cast<typename Vector::Element*>(params.y);
    const std::int64_t items = plan.items();
    for (std::int64_t item = path.first.x; item < items; item += path.step.x) {
        const std::int64_t index = quotient(item, plan.vectors);
        const std::int64_t channel = (item - index * plan.vectors) * Vector::kCount;
        const Pixel pixel = plan.region.at(index);
        const float factor = params.window.factor(pixel);
        const float share = params.bias == nullptr ? 0.0F : bias_share(params, factor);
        auto* const at_pixel = y + (pixel.row * plan.region.width + pixel.column) * plan.pixel_pitch + channel;
        for (std::int64_t plane = path.first.y; plane < plan.planes; plane += path.step.y) {
            float shifts[Vector::kCount] = {};
            const bool moved = share != 0.0F && read_shifts<Vector>(params, plane + channel, share, shifts);
            if (factor == 1.0F && !moved) {
                continue;
            }
            for (std::int64_t image = path.first.z; image < params.batch; image += path.step.z) {
                auto* const place = at_pixel + plane * plan.plane_pitch + image * plan.image_pitch;
                scale(*reinterpret_cast<Vector*>(place), factor, shifts);
            }
        }
    }
}

// Calls `run` with a null pointer to the vector type that the parameters and the plan ask for.
template <class Run>
auto with_vector(const RectifyParams& params, const Plan& plan, Run&& run) {
    const bool single = plan.lanes == 1;
    switch (params.type) {
        case ElementType::kFloat16:
            return single ? run(static_cast<Lanes<Half, 1>*>(nullptr)) : run(static_cast<Lanes<Half, 8>*>(nullptr));
        case ElementType::kBFloat16:
            return single ? run(static_cast<Lanes<BFloat16, 1>*>(nullptr))
                          : run(static_cast<Lanes<BFloat16, 8>*>(nullptr));
        case ElementType::kFloat32:
            break;
    }
    return single ? run(static_cast<Lanes<float, 1>*>(nullptr)) : run(static_cast<Lanes<float, 4>*>(nullptr));
}

}  // namespace rectexport
