// Times the kernel, a copy of the same pixels into a packed buffer, and a copy of the whole tensor.
//
// One tab-separated line per shape; the first line names the columns. GB/s counts each processed pixel as read and
// written.
#include <algorithm>
#include <type_traits>
#include <vector>

#include "device_buffer.h"
#include "kernel.h"
#include "plan.h"
#include "tensor_case.h"
#include "walk.h"

namespace rectexport::testing {
namespace {

constexpr int kRounds = 31;
constexpr int kLaunches = 50;

struct Shape {
    std::int64_t channels;
    std::int64_t size;
    std::int64_t kernel;
    std::int64_t stride;
};

// Reads and writes what the kernel does, without arithmetic: a lower bound of the time of a border kernel.
template <class Vector>
__global__ void copy_region(RectifyParams params, Plan plan, Vector* packed) {
    const auto* const y = static_cast<const typename Vector::Element*>(params.y);
    const std::int64_t items = plan.items();
    for (std::int64_t item = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; item < items;
         item += static_cast<std::int64_t>(gridDim.x) * blockDim.x) {
        const std::int64_t index = quotient(item, plan.vectors);
        const std::int64_t channel = (item - index * plan.vectors) * Vector::kCount;
        const Pixel pixel = plan.region.at(index);
        const auto* const at_pixel = y + (pixel.row * plan.region.width + pixel.column) * plan.pixel_pitch + channel;
        for (std::int64_t plane = static_cast<std::int64_t>(blockIdx.y) * blockDim.y + threadIdx.y; plane < plan.planes;
             plane += static_cast<std::int64_t>(gridDim.y) * blockDim.y) {
            for (std::int64_t image = blockIdx.z; image < params.batch; image += gridDim.z) {
                const auto* const place = at_pixel + plane * plan.plane_pitch + image * plan.image_pitch;
                packed[(image * plan.planes + plane) * items + item] = *reinterpret_cast<const Vector*>(place);
            }
        }
    }
}

dim3 as_dim3(const Extent& extent) {
    return {static_cast<unsigned>(extent.x), static_cast<unsigned>(extent.y), static_cast<unsigned>(extent.z)};
}

class Event {
public:
    Event() { must(cudaEventCreate(&event_), "creating an event"); }
    ~Event() { cudaEventDestroy(event_); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;

    void record() { must(cudaEventRecord(event_), "recording an event"); }

    // Waits for this event.
    float milliseconds_since(const Event& start) const {
        must(cudaEventSynchronize(event_), "waiting for an event");
        float milliseconds = 0;
        must(cudaEventElapsedTime(&milliseconds, start.event_, event_), "reading an event");
        return milliseconds;
    }

private:
    cudaEvent_t event_{};
};

// Microseconds of one run: the median over rounds of many launches each, after a warm-up.
template <class Run>
double microseconds(Run run) {
    Event start;
    Event end;
    std::vector<double> rounds;
    for (int round = -3; round < kRounds; ++round) {
        start.record();
        for (int launch = 0; launch < kLaunches; ++launch) {
            run();
        }
        end.record();
        const double each = 1e3 * static_cast<double>(end.milliseconds_since(start)) / kLaunches;
        if (round >= 0) {
            rounds.push_back(each);
        }
    }
    std::nth_element(rounds.begin(), rounds.begin() + kRounds / 2, rounds.end());
    return rounds[kRounds / 2];
}

void measure(const Shape& shape, std::int64_t batch, ElementType type, Layout layout, const char* names, bool average) {
    const std::int64_t pad = shape.kernel / 2;
    Axis axis{shape.size, 0, shape.kernel, shape.stride, pad, pad, 1};
    axis.out = output_size(axis);
    const std::int64_t numerator = average ? 1 : shape.kernel * shape.kernel;
    RectifyParams params{nullptr, nullptr, batch, shape.channels, {axis, axis, numerator}, true, false, type, layout};
    const std::int64_t bytes = rectify_bytes(params);
    const DeviceBuffer y = device_buffer(static_cast<std::size_t>(bytes));
    const DeviceBuffer packed = device_buffer(static_cast<std::size_t>(bytes));
    must(cudaMemset(y.get(), 0x3C, static_cast<std::size_t>(bytes)), "filling y");
    params.y = y.get();
    const Plan plan = rectify_plan(params);
    const double rectified = microseconds([&] { must(rectify_launch(params, nullptr), "starting the kernel"); });
    const double border = with_vector(params, plan, [&](auto* vector) {
        using Vector = std::remove_pointer_t<decltype(vector)>;
        return microseconds([&] {
            copy_region<<<as_dim3(plan.grid), as_dim3(plan.block)>>>(params, plan,
                                                                     reinterpret_cast<Vector*>(packed.get()));
        });
    });
    const double whole = microseconds([&] { must(rectify_copy(packed.get(), y.get(), bytes, nullptr), "copying y"); });
    must(cudaDeviceSynchronize(), "measuring");
    const double share = static_cast<double>(plan.region.size()) / static_cast<double>(axis.out * axis.out);
    std::printf("%s\t%s\t%lldx%lldx%lldx%lld\t%lldx%lld s%lld\t%.3f\t%.2f\t%.2f\t%.2f\t%.0f\n", names,
                average ? "average" : "sum", static_cast<long long>(batch), static_cast<long long>(shape.channels),
                static_cast<long long>(axis.out), static_cast<long long>(axis.out),
                static_cast<long long>(shape.kernel), static_cast<long long>(shape.kernel),
                static_cast<long long>(shape.stride), share, rectified, border, whole,
                2 * share * static_cast<double>(bytes) / rectified / 1e3);
}

void measure_all() {
    std::printf("type, layout\tmode\ty\twindow\ttouched\trectify us\tborder copy us\twhole copy us\trectify GB/s\n");
    // The rectified convolutions of ResNet-50 at 224 x 224.
    const Shape shapes[] = {{64, 224, 7, 2}, {64, 56, 3, 1}, {128, 28, 3, 1}, {256, 14, 3, 1}, {512, 7, 3, 1}};
    for (const Shape& shape : shapes) {
        for (const std::int64_t batch : {1, 8, 32}) {
            measure(shape, batch, ElementType::kFloat16, Layout::kNhwc8, "float16 HWC8", false);
            measure(shape, batch, ElementType::kFloat16, Layout::kNchw, "float16 linear", false);
            measure(shape, batch, ElementType::kFloat32, Layout::kNhwc, "float32 HWC", false);
            measure(shape, batch, ElementType::kFloat32, Layout::kNchw, "float32 linear", false);
        }
    }
    measure(shapes[1], 32, ElementType::kFloat16, Layout::kNhwc8, "float16 HWC8", true);
    measure(shapes[1], 32, ElementType::kFloat16, Layout::kNchw, "float16 linear", true);
}

}  // namespace
}  // namespace rectexport::testing

int main() {
    rectexport::testing::need_device();
    rectexport::testing::measure_all();
}
