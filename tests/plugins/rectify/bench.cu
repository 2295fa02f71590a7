// Times the kernel, a copy of the same pixels into a packed buffer, and a copy of the whole tensor.
//
// Launches go through buffers of several times the L2 in turn, as one CUDA graph: each finds its tensor in memory, and
// no launch waits for the host. One tab-separated line per shape; the first line names the columns. GB/s counts each
// processed pixel as read and written; the last column compares that with the copy of the whole tensor.
#include <algorithm>
#include <vector>

#include "device_buffer.h"
#include "kernel.h"
#include "plan.h"
#include "tensor_case.h"
#include "walk.h"

namespace rectexport::testing {
namespace {

constexpr int kRounds = 31;
// Buffers hold this many times the L2; launches in a graph, at least and at most.
constexpr std::int64_t kTimesL2 = 4;
constexpr std::int64_t kLeastLaunches = 50;
constexpr std::int64_t kMostLaunches = 2048;
constexpr std::int64_t kAlignment = 256;

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
        const auto* const at_pixel = y + (pixel.row * plan.region.width + pixel.column) * plan.place_pitch + channel;
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

    void record(cudaStream_t stream) { must(cudaEventRecord(event_, stream), "recording an event"); }

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

// A graph of launches on a stream of its own.
class LaunchGraph {
public:
    template <class Run>
    LaunchGraph(std::int64_t launches, Run run) {
        must(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
        must(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "beginning a capture");
        for (std::int64_t launch = 0; launch < launches; ++launch) {
            run(launch, stream_);
        }
        cudaGraph_t graph{};
        must(cudaStreamEndCapture(stream_, &graph), "ending a capture");
        must(cudaGraphInstantiate(&graph_, graph, 0), "instantiating a graph");
        must(cudaGraphDestroy(graph), "freeing a graph");
    }
    ~LaunchGraph() {
        cudaGraphExecDestroy(graph_);
        cudaStreamDestroy(stream_);
    }
    LaunchGraph(const LaunchGraph&) = delete;
    LaunchGraph& operator=(const LaunchGraph&) = delete;

    void launch() { must(cudaGraphLaunch(graph_, stream_), "launching a graph"); }
    cudaStream_t stream() const { return stream_; }

private:
    cudaStream_t stream_{};
    cudaGraphExec_t graph_{};
};

// Microseconds of one of `launches` runs: the median over rounds, after a warm-up.
template <class Run>
double microseconds(std::int64_t launches, Run run) {
    LaunchGraph graph(launches, run);
    Event start;
    Event end;
    std::vector<double> rounds;
    for (int round = -3; round < kRounds; ++round) {
        start.record(graph.stream());
        graph.launch();
        end.record(graph.stream());
        const double each = 1e3 * static_cast<double>(end.milliseconds_since(start)) / static_cast<double>(launches);
        if (round >= 0) {
            rounds.push_back(each);
        }
    }
    std::nth_element(rounds.begin(), rounds.begin() + kRounds / 2, rounds.end());
    return rounds[kRounds / 2];
}

// Buffers of one size behind each other, several times the L2 where that takes no more than kMostLaunches.
class Ring {
public:
    explicit Ring(std::int64_t bytes) : pitch_((bytes + kAlignment - 1) / kAlignment * kAlignment) {
        int l2 = 0;
        must(cudaDeviceGetAttribute(&l2, cudaDevAttrL2CacheSize, 0), "asking for the size of the L2");
        const std::int64_t wanted = (kTimesL2 * l2 + pitch_ - 1) / pitch_;
        count_ = std::clamp<std::int64_t>(wanted, 2, kMostLaunches);
        memory_ = device_buffer(static_cast<std::size_t>(count_ * pitch_));
        must(cudaMemset(memory_.get(), 0x3C, static_cast<std::size_t>(count_ * pitch_)), "filling y");
    }

    unsigned char* at(std::int64_t launch) const { return memory_.get() + launch % count_ * pitch_; }
    std::int64_t launches() const { return std::max(count_, kLeastLaunches); }

private:
    std::int64_t pitch_;
    std::int64_t count_;
    DeviceBuffer memory_;
};

void measure(const Shape& shape, std::int64_t batch, ElementType type, Layout layout, const char* names, bool average) {
    const std::int64_t pad = shape.kernel / 2;
    Axis axis{shape.size, 0, shape.kernel, shape.stride, pad, pad, 1};
    axis.out = output_size(axis);
    const std::int64_t numerator = average ? 1 : shape.kernel * shape.kernel;
    RectifyParams params{nullptr, nullptr, batch, shape.channels, {axis, axis, numerator}, true, false, type, layout};
    const std::int64_t bytes = rectify_bytes(params);
    const Ring y(bytes);
    const Ring packed(bytes);
    params.y = y.at(0);
    const Plan plan = rectify_plan(params);
    const double rectified = microseconds(y.launches(), [&](std::int64_t launch, cudaStream_t stream) {
        RectifyParams own = params;
        own.y = y.at(launch);
        must(rectify_launch(own, stream), "starting the kernel");
    });
    const double border = with_walk(params, plan, [&](auto way) {
        using Vector = typename decltype(way)::Vector;
        return microseconds(y.launches(), [&](std::int64_t launch, cudaStream_t stream) {
            RectifyParams own = params;
            own.y = y.at(launch);
            copy_region<<<as_dim3(plan.grid), as_dim3(plan.block), 0, stream>>>(
                own, plan, reinterpret_cast<Vector*>(packed.at(launch)));
        });
    });
    const double whole = microseconds(y.launches(), [&](std::int64_t launch, cudaStream_t stream) {
        must(rectify_copy(packed.at(launch), y.at(launch), bytes, stream), "copying y");
    });
    must(cudaDeviceSynchronize(), "measuring");
    const Region changed = average ? params.window.plane() : params.window.border();
    const double share = static_cast<double>(changed.size()) / static_cast<double>(axis.out * axis.out);
    std::printf("%s\t%s\t%lldx%lldx%lldx%lld\t%lldx%lld s%lld\t%.3f\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\n", names,
                average ? "average" : "sum", static_cast<long long>(batch), static_cast<long long>(shape.channels),
                static_cast<long long>(axis.out), static_cast<long long>(axis.out),
                static_cast<long long>(shape.kernel), static_cast<long long>(shape.kernel),
                static_cast<long long>(shape.stride), share, rectified, border, whole,
                2 * share * static_cast<double>(bytes) / rectified / 1e3, 100 * share * whole / rectified);
}

void measure_all() {
    std::printf("%s\n",
                "type, layout\tmode\ty\twindow\ttouched\trectify us\tborder copy us\twhole copy us\trectify GB/s\t"
                "% of copy bandwidth");
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
