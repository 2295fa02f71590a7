// Compares the kernel on a GPU with the reference, and bit by bit with the same code on the CPU.
#include "device_buffer.h"
#include "guarded_buffer.h"
#include "host.h"
#include "kernel.h"

namespace rectexport::testing {
namespace {

DeviceBuffer uploaded(const Bytes& bytes) {
    DeviceBuffer buffer = device_buffer(bytes.size());
    must(cudaMemcpy(buffer.get(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "uploading");
    return buffer;
}

// Runs on the device, including the guard bytes, and copies everything back into `buffer`.
void run_on_device(const TensorCase& c, GuardedBuffer& buffer) {
    const DeviceBuffer y = uploaded(buffer.storage());
    const DeviceBuffer bias = uploaded(packed_bias(c));
    RectifyParams params = c.params;
    params.y = y.get() + buffer.first();
    params.bias = c.bias.empty() ? nullptr : bias.get();
    must(rectify_launch(params, nullptr), "starting the kernel");
    must(cudaDeviceSynchronize(), "running the kernel");
    Bytes& storage = buffer.storage();
    must(cudaMemcpy(storage.data(), y.get(), storage.size(), cudaMemcpyDeviceToHost), "downloading");
}

void check_run(Tally& tally, const TensorCase& c, std::size_t shift) {
    GuardedBuffer buffer(packed(c), shift);
    run_on_device(c, buffer);
    compare(tally, c, buffer.data());
    tally.check(buffer.unharmed(), "wrote outside the buffer: " + text_of(c));

    Bytes on_host = packed(c);
    const Bytes bias = packed_bias(c);
    RectifyParams params = c.params;
    params.y = on_host.data();
    params.bias = c.bias.empty() ? nullptr : bias.data();
    rectify_on_host(params);
    const bool equal = std::equal(on_host.begin(), on_host.end(), buffer.data());
    tally.check(equal, "GPU and CPU differ in a bit: " + text_of(c));
}

int check_tensors(const std::string& path) {
    Tally tally;
    for (CaseFile file(path); !file.at_end();) {
        const TensorCase c = read_tensor(file);
        check_run(tally, c, 0);
        check_run(tally, c, element_size(c.params.type));
    }
    return tally.close("tensors on the GPU");
}

__global__ void fill(Half* y, std::int64_t count, Half value) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
        y[i] = value;
    }
}

// Counts the elements of a tensor of ones that do not equal r afterwards.
__global__ void count_wrong(const Half* y, RectifyParams params, std::int64_t count, unsigned long long* wrong) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    const std::int64_t plane = params.window.rows.out * params.window.columns.out;
    const std::int64_t width = params.window.columns.out;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
        const std::int64_t pixel = params.layout == Layout::kNchw ? i % plane : i / params.channels % plane;
        Half expected{};
        from_float(params.window.factor({pixel / width, pixel % width}), expected);
        if (y[i].bits != expected.bits) {
            atomicAdd(wrong, 1ULL);
        }
    }
}

void check_large(Tally& tally, Layout layout, std::int64_t batch, std::int64_t channels, std::int64_t size) {
    const Axis axis{size, size, 3, 1, 1, 1, 1};
    const std::int64_t count = batch * channels * size * size;
    std::size_t free = 0;
    std::size_t total = 0;
    must(cudaMemGetInfo(&free, &total), "asking for free memory");
    if (free < static_cast<std::size_t>(count) * sizeof(Half) + (std::size_t{1} << 28)) {
        std::printf("skipped: %lld elements do not fit into this device's memory\n", static_cast<long long>(count));
        return;
    }
    const DeviceBuffer y = device_buffer(static_cast<std::size_t>(count) * sizeof(Half));
    const DeviceBuffer wrong = device_buffer(sizeof(unsigned long long));
    must(cudaMemset(wrong.get(), 0, sizeof(unsigned long long)), "clearing the count");
    auto* const elements = reinterpret_cast<Half*>(y.get());
    fill<<<4096, 256>>>(elements, count, Half{0x3C00});
    const RectifyParams params{y.get(), nullptr, batch, channels, {axis, axis, 9}, true, false, ElementType::kFloat16,
                               layout};
    must(rectify_launch(params, nullptr), "starting the kernel");
    count_wrong<<<4096, 256>>>(elements, params, count, reinterpret_cast<unsigned long long*>(wrong.get()));
    unsigned long long found = 0;
    must(cudaMemcpy(&found, wrong.get(), sizeof found, cudaMemcpyDeviceToHost), "downloading the count");
    tally.check(found == 0, std::to_string(found) + " wrong of " + std::to_string(count) + " elements, layout " +
                                std::to_string(static_cast<int>(layout)));
}

// More than 2^31 elements: in one plane, over many planes, and channels last.
int check_sizes() {
    Tally tally;
    check_large(tally, Layout::kNchw, 1, 1, 46342);
    check_large(tally, Layout::kNchw, 33, 65536, 32);
    check_large(tally, Layout::kNhwc8, 33, 65536, 32);
    return tally.close("2^31 elements on the GPU");
}

}  // namespace
}  // namespace rectexport::testing

// --small leaves the large tensors out: under compute-sanitizer they take hours.
int main(int count, char** arguments) {
    const bool small = count == 3 && std::string(arguments[2]) == "--small";
    if (count != 2 && !small) {
        std::fprintf(stderr, "usage: %s FOLDER [--small]\n", arguments[0]);
        return 2;
    }
    using namespace rectexport::testing;
    need_device();
    return check_tensors(std::string(arguments[1]) + "/tensors.bin") | (small ? 0 : check_sizes());
}
