#include "plan.h"

#include <algorithm>

namespace rectexport {
namespace {

constexpr std::int64_t kThreads = 256;
// So many blocks occupy every GPU; with more images, each thread reuses its factor for several of them.
constexpr std::int64_t kBlocks = 4096;
constexpr std::int64_t kMostAlongX = std::int64_t{1} << 30;
constexpr std::int64_t kMostAlongY = 65535;
constexpr std::int64_t kPaddedTo = 8;
// Products of sizes below this stay far below 2^63.
constexpr std::int64_t kMostElements = std::int64_t{1} << 48;

std::int64_t element_bytes(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

std::int64_t channel_pitch(const RectifyParams& params) {
    return params.layout == Layout::kNhwc8 ? quotient_up(params.channels, kPaddedTo) * kPaddedTo : params.channels;
}

std::int64_t pixels(const RectifyParams& params) { return params.window.rows.out * params.window.columns.out; }

std::int64_t power_of_two_from(std::int64_t value, std::int64_t most) {
    std::int64_t power = 1;
    while (power < value && power < most) {
        power *= 2;
    }
    return power;
}

const char* axis_fault(const Axis& axis) {
    constexpr std::int64_t kMost = std::int64_t{1} << 31;  // so that no product below overflows
    if (axis.size < 1 || axis.kernel < 1 || axis.stride < 1 || axis.dilation < 1) {
        return "size, kernel, stride and dilation must be at least 1";
    }
    if (axis.pad_before < 0 || axis.pad_after < 0) {
        return "a pad is negative";
    }
    if (std::max({axis.size, axis.kernel, axis.stride, axis.dilation, axis.pad_before, axis.pad_after}) >= kMost) {
        return "a size of the window or its input is 2^31 or more";
    }
    if (output_size(axis) == 0) {
        return "the window is larger than the padded input";
    }
    return axis.out == output_size(axis) ? nullptr : "y's height and width are not what the convolution gives";
}

// Multiplies `total` by `size`. Returns the fault, or null.
const char* grow(std::int64_t& total, std::int64_t size) {
    if (size != 0 && total > kMostElements / size) {
        return "y has more than 2^48 elements";
    }
    total *= size;
    return nullptr;
}

bool is_aligned(const void* address, std::int64_t bytes) {
    return reinterpret_cast<std::uintptr_t>(address) % static_cast<std::uintptr_t>(bytes) == 0;
}

// The longest vector of which whole ones make up a row; in layouts with channels last 16 bytes, or single elements.
std::int64_t lanes_for(const RectifyParams& params) {
    const std::int64_t bytes = element_bytes(params.type);
    const bool in_rows = params.layout == Layout::kNchw;
    const std::int64_t length = in_rows ? params.window.columns.out : channel_pitch(params);
    std::int64_t lanes = kVectorBytes / bytes;
    while (lanes > 1 && (length % lanes != 0 || !is_aligned(params.y, lanes * bytes))) {
        lanes = in_rows ? lanes / 2 : 1;
    }
    return lanes;
}

// The same region, with vectors of `lanes` pixels in place of pixels. A vector that is in it in part is in it.
Region in_vectors(const Region& region, std::int64_t lanes) {
    const std::int64_t width = quotient(region.width, lanes);
    const Span columns{quotient_up(region.columns.begin, lanes), quotient(region.columns.end, lanes)};
    return columns.size() > 0 ? Region{region.height, width, region.rows, columns}
                              : Region{region.height, width, {region.height, region.height}, {width, width}};
}

void deal(Plan& plan, std::int64_t batch) {
    const std::int64_t along_x = power_of_two_from(plan.items(), kThreads);
    const std::int64_t along_y = power_of_two_from(plan.planes, kThreads / along_x);
    plan.block = {along_x, along_y, 1};
    plan.grid.x = std::min(quotient_up(plan.items(), along_x), kMostAlongX);
    plan.grid.y = std::min(quotient_up(plan.planes, along_y), kMostAlongY);
    const std::int64_t layer = std::max<std::int64_t>(plan.grid.x * plan.grid.y, 1);  // it is 0 without a border
    const std::int64_t wanted = std::max<std::int64_t>(kBlocks / layer, 1);
    plan.grid.z = std::min(batch, wanted);
}

}  // namespace

const char* rectify_fault(const RectifyParams& params) noexcept {
    if (params.batch < 0 || params.channels < 1) {
        return "batch is negative, or channels is below 1";
    }
    for (const Axis* axis : {&params.window.rows, &params.window.columns}) {
        if (const char* fault = axis_fault(*axis)) {
            return fault;
        }
    }
    if (params.window.numerator < 0) {
        return "the numerator is negative";
    }
    std::int64_t total = 1;
    for (const std::int64_t size : {params.batch, params.channels, params.window.rows.out, params.window.columns.out}) {
        if (const char* fault = grow(total, size)) {
            return fault;
        }
    }
    return nullptr;
}

std::int64_t rectify_bytes(const RectifyParams& params) noexcept {
    return params.batch * channel_pitch(params) * pixels(params) * element_bytes(params.type);
}

Plan rectify_plan(const RectifyParams& params) noexcept {
    const bool border_only = (params.bias == nullptr || params.biased) && params.window.keeps_interior();
    const std::int64_t pitch = channel_pitch(params);
    Plan plan{};
    plan.region = border_only ? params.window.border() : params.window.plane();
    plan.lanes = lanes_for(params);
    plan.image_pitch = pitch * pixels(params);
    plan.whole_columns = interior(params.window.columns);
    plan.vector_bias = is_aligned(params.bias, plan.lanes * element_bytes(params.type));
    if (params.layout == Layout::kNchw) {
        plan.region = in_vectors(plan.region, plan.lanes);
        plan.vectors = 1;
        plan.planes = params.channels;
        plan.place_pitch = plan.lanes;
        plan.plane_pitch = pixels(params);
    } else {
        plan.vectors = pitch / plan.lanes;
        plan.planes = 1;
        plan.place_pitch = pitch;
        plan.plane_pitch = 0;
    }
    deal(plan, params.batch);
    return plan;
}

}  // namespace rectexport
