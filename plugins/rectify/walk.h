// The work of one thread. The kernel runs it on the GPU; rectify_on_host runs it thread by thread on the CPU.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernel.h"
#include "numbers.h"
#include "plan.h"

namespace rectexport {

// Consecutive elements that are loaded and stored together.
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

// What is done to the elements of a vector: y <- factor * y + shift.
template <int N>
struct Change {
    float factor[N];
    float shift[N];

    RECTEXPORT_BOTH bool changes(int lane) const { return factor[lane] != 1.0F || shift[lane] != 0.0F; }

    RECTEXPORT_BOTH bool any() const {
        bool found = false;
        for (int lane = 0; lane < N; ++lane) {
            found = found || changes(lane);
        }
        return found;
    }
};

// Lanes that do not change keep their bits.
template <class Vector>
RECTEXPORT_BOTH inline void apply(const Change<Vector::kCount>& change, Vector& vector) {
    Vector lanes = vector;
    for (int lane = 0; lane < Vector::kCount; ++lane) {
        if (change.changes(lane)) {
            from_float(std::fmaf(change.factor[lane], to_float(lanes.lane[lane]), change.shift[lane]),
                       lanes.lane[lane]);
        }
    }
    vector = lanes;
}

// The same change in each of the thread's images, at a place of the first.
template <class Vector>
RECTEXPORT_BOTH inline void apply_to_images(const Change<Vector::kCount>& change,
                                            typename Vector::Element* at,
                                            const RectifyParams& params,
                                            const Plan& plan,
                                            const Walk& path) {
    if (!change.any()) {
        return;
    }
    for (std::int64_t image = path.first.z; image < params.batch; image += path.step.z) {
        apply(change, *reinterpret_cast<Vector*>(at + image * plan.image_pitch));
    }
}

// Layouts with channels last: a vector is channels of one pixel, which have one factor.
template <class V>
struct AlongChannels {
    using Vector = V;
    using Element = typename V::Element;

    RECTEXPORT_BOTH static void walk(const RectifyParams& params, const Plan& plan, const Walk& path) {
        const std::int64_t items = plan.items();
        for (std::int64_t item = path.first.x; item < items; item += path.step.x) {
            const std::int64_t index = quotient(item, plan.vectors);
            const std::int64_t channel = (item - index * plan.vectors) * V::kCount;
            const Pixel pixel = plan.region.at(index);
            const float factor = params.window.factor(pixel);
            const std::int64_t place = pixel.row * plan.region.width + pixel.column;
            auto* const at = static_cast<Element*>(params.y) + place * plan.place_pitch + channel;
            apply_to_images<V>(change(params, plan, channel, factor), at, params, plan, path);
        }
    }

private:
    RECTEXPORT_BOTH static Change<V::kCount> change(const RectifyParams& params,
                                                    const Plan& plan,
                                                    std::int64_t channel,
                                                    float factor) {
        const float share = params.bias == nullptr ? 0.0F : bias_share(params, factor);
        const V bias = share == 0.0F ? V{} : read_bias(params, plan, channel);
        Change<V::kCount> found{};
        for (int lane = 0; lane < V::kCount; ++lane) {
            found.factor[lane] = factor;
            found.shift[lane] = share == 0.0F ? 0.0F : share * to_float(bias.lane[lane]);
        }
        return found;
    }

    // In one load where that is possible. 0 past the last channel.
    RECTEXPORT_BOTH static V read_bias(const RectifyParams& params, const Plan& plan, std::int64_t channel) {
        const auto* const bias = static_cast<const Element*>(params.bias) + channel;
        if (plan.vector_bias && channel + V::kCount <= params.channels) {
            return *reinterpret_cast<const V*>(bias);
        }
        V found{};
        for (int lane = 0; lane < V::kCount && channel + lane < params.channels; ++lane) {
            found.lane[lane] = bias[lane];
        }
        return found;
    }
};

// NCHW: a vector is pixels of one row and plane, which have one bias.
template <class V>
struct AlongRow {
    using Vector = V;
    using Element = typename V::Element;

    RECTEXPORT_BOTH static void walk(const RectifyParams& params, const Plan& plan, const Walk& path) {
        const std::int64_t items = plan.items();
        for (std::int64_t item = path.first.x; item < items; item += path.step.x) {
            const Pixel place = plan.region.at(item);
            Change<V::kCount> change{};
            read_factors(params, plan, {place.row, place.column * V::kCount}, change);
            auto* const at =
                static_cast<Element*>(params.y) + (place.row * plan.region.width + place.column) * plan.place_pitch;
            for (std::int64_t plane = path.first.y; plane < plan.planes; plane += path.step.y) {
                add_bias(params, plane, change);
                apply_to_images<V>(change, at + plane * plan.plane_pitch, params, plan, path);
            }
        }
    }

private:
    // Most vectors have one factor: taps are counted for pixels at the left and right border alone.
    RECTEXPORT_BOTH static void read_factors(const RectifyParams& params,
                                             const Plan& plan,
                                             Pixel first,
                                             Change<V::kCount>& change) {
        const Window& window = params.window;
        const std::int64_t rows = valid_taps(window.rows, first.row);
        const float inner = window.factor_of(rows * window.columns.kernel);
        for (int lane = 0; lane < V::kCount; ++lane) {
            const std::int64_t column = first.column + lane;
            const bool whole = column >= plan.whole_columns.begin && column < plan.whole_columns.end;
            change.factor[lane] = whole ? inner : window.factor_of(rows * valid_taps(window.columns, column));
        }
    }

    RECTEXPORT_BOTH static void add_bias(const RectifyParams& params, std::int64_t plane, Change<V::kCount>& change) {
        if (params.bias == nullptr) {
            return;
        }
        const float bias = to_float(static_cast<const Element*>(params.bias)[plane]);
        for (int lane = 0; lane < V::kCount; ++lane) {
            const float share = bias_share(params, change.factor[lane]);
            change.shift[lane] = share == 0.0F ? 0.0F : share * bias;
        }
    }
};

template <class T, class Run>
auto with_lanes(const RectifyParams& params, const Plan& plan, Run&& run) {
    constexpr int kMost = kVectorBytes / static_cast<int>(sizeof(T));
    if (params.layout != Layout::kNchw) {
        return plan.lanes == 1 ? run(AlongChannels<Lanes<T, 1>>{}) : run(AlongChannels<Lanes<T, kMost>>{});
    }
    switch (plan.lanes) {
        case 1:
            return run(AlongRow<Lanes<T, 1>>{});
        case 2:
            return run(AlongRow<Lanes<T, 2>>{});
        case 4:
            return run(AlongRow<Lanes<T, 4>>{});
        default:
            return run(AlongRow<Lanes<T, kMost>>{});
    }
}

// Calls `run` with an object of the type that walks as the parameters and the plan ask for.
template <class Run>
auto with_walk(const RectifyParams& params, const Plan& plan, Run&& run) {
    switch (params.type) {
        case ElementType::kFloat16:
            return with_lanes<Half>(params, plan, run);
        case ElementType::kBFloat16:
            return with_lanes<BFloat16>(params, plan, run);
        case ElementType::kFloat32:
            break;
    }
    return with_lanes<float>(params, plan, run);
}

}  // namespace rectexport
