// Compares the kernel's code on the CPU with the reference: all types and layouts, odd sizes, guard bytes.
#include "host.h"

#include <array>
#include <map>

#include "guarded_buffer.h"
#include "plan.h"

namespace rectexport::testing {
namespace {

// Vectors of each length that the cases met, in NCHW.
using Lengths = std::map<std::int64_t, int>;

void check_run(Tally& tally, const TensorCase& c, std::size_t shift, Lengths& lengths) {
    GuardedBuffer buffer(packed(c), shift);
    GuardedBuffer shifted_bias(packed_bias(c), shift);
    const Bytes bias = packed_bias(c);  // of exactly its size, so that the sanitizer sees a load beyond it
    RectifyParams params = c.params;
    params.y = buffer.data();
    params.bias = c.bias.empty() ? nullptr : shift == 0 ? bias.data() : shifted_bias.data();
    lengths[params.layout == Layout::kNchw ? rectify_plan(params).lanes : 0] += 1;
    const char* fault = rectify_on_host(params);
    tally.check(fault == nullptr, std::string(fault == nullptr ? "" : fault) + ": " + text_of(c));
    compare(tally, c, buffer.data());
    tally.check(buffer.unharmed(), "wrote outside the buffer: " + text_of(c));
}

int check_tensors(const std::string& path) {
    Tally tally;
    Lengths lengths;
    for (CaseFile file(path); !file.at_end();) {
        const TensorCase c = read_tensor(file);
        for (const std::size_t elements : {0, 1, 2}) {  // with 1 and 2, too little alignment for vectors
            check_run(tally, c, elements * element_size(c.params.type), lengths);
        }
    }
    for (const std::int64_t lanes : {1, 2, 4, 8}) {
        tally.check(lengths[lanes] >= 5, "fewer than 5 cases with " + std::to_string(lanes) + " pixels in a vector");
    }
    return tally.close("tensors on the CPU");
}

RectifyParams small(void* y) {
    const Axis axis{8, 8, 3, 1, 1, 1, 1};
    return {y, nullptr, 2, 5, {axis, axis, 9}, true, false, ElementType::kFloat32, Layout::kNchw};
}

// A large batch has fewer threads than images; each image must still be processed exactly once.
void check_sharing(Tally& tally) {
    RectifyParams params = small(nullptr);
    params.batch = 9000;
    params.channels = 1;
    std::vector<float> y(9000 * 64, 1.0F);
    params.y = y.data();
    tally.check(rectify_plan(params).grid.z < params.batch, "the plan has a block for every image");
    rectify_on_host(params);
    bool good = true;
    for (std::size_t index = 0; index < y.size(); ++index) {
        const auto pixel = static_cast<std::int64_t>(index % 64);
        good = good && y[index] == params.window.factor({pixel / 8, pixel % 8});
    }
    tally.check(good, "a batch of 9000");
}

// A row of 56 numbers of 2 bytes is 7 vectors, of which the outer two have pixels at the border.
void check_vectors(Tally& tally) {
    alignas(16) std::array<Half, 56 * 56 * 2> y{};
    const Axis axis{56, 56, 3, 1, 1, 1, 1};
    const Window window{axis, axis, 9};
    RectifyParams params{y.data(), nullptr, 1, 2, window, true, false, ElementType::kFloat16, Layout::kNchw};
    const Plan plan = rectify_plan(params);
    tally.check(plan.lanes == 8 && plan.items() == 2 * 7 + 54 * 2, "a vector of 8 pixels at each end of a row");
    // NaN with a payload, and -0: what arithmetic would change.
    for (std::size_t index = 0; index < y.size(); ++index) {
        y.at(index).bits = index % 2 == 0 ? 0x7D23 : 0x8000;
    }
    const auto before = y;
    rectify_on_host(params);
    bool kept = true;
    for (std::size_t index = 0; index < y.size(); ++index) {
        const auto pixel = static_cast<std::int64_t>(index % (56 * 56));
        const bool inside = window.factor({pixel / 56, pixel % 56}) == 1.0F;
        kept = kept && (!inside || y.at(index).bits == before.at(index).bits);
    }
    tally.check(kept, "a pixel off the border in a vector at the border keeps its bits");
    for (const std::int64_t width : {112, 28, 14, 7}) {
        params.window.columns = {width, width, 3, 1, 1, 1, 1};
        const std::int64_t lanes = width == 112 ? 8 : width == 28 ? 4 : width == 14 ? 2 : 1;
        tally.check(rectify_plan(params).lanes == lanes, "the vectors of a row of " + std::to_string(width));
    }
    params.layout = Layout::kNhwc;
    params.channels = 12;
    tally.check(rectify_plan(params).lanes == 1, "12 channels of 2 bytes are no vectors of 16 bytes");
}

void check_cost(Tally& tally) {
    float storage[2] = {};
    float* const odd = reinterpret_cast<std::uintptr_t>(storage) % 8 == 0 ? storage + 1 : storage;
    float& y = *odd;  // at such an address each pixel is a vector
    RectifyParams params = small(&y);
    tally.check(rectify_plan(params).items() == 28, "sum mode without bias covers only the border");
    params.window.numerator = 1;
    tally.check(rectify_plan(params).items() == 64, "average mode covers every pixel");
    params = small(&y);
    params.bias = &y;
    tally.check(rectify_plan(params).items() == 64, "with a bias every pixel is covered");
    params.biased = true;
    tally.check(rectify_plan(params).items() == 28, "a bias that y has already costs the border only");
    const Axis unpadded{10, 8, 3, 1, 0, 0, 1};
    params = small(&y);
    params.window = {unpadded, unpadded, 9};
    tally.check(rectify_plan(params).items() == 0, "an unpadded convolution covers nothing");
}

void check_refusals(Tally& tally) {
    float y = 0;
    const auto refused = [&](auto change) {
        RectifyParams params = small(&y);
        change(params);
        return rectify_fault(params) != nullptr;
    };
    tally.check(!refused([](RectifyParams&) {}), "good parameters are refused");
    tally.check(refused([](RectifyParams& p) { p.batch = -1; }), "a negative batch is accepted");
    tally.check(refused([](RectifyParams& p) { p.channels = 0; }), "0 channels are accepted");
    tally.check(refused([](RectifyParams& p) { p.window.rows.out = 7; }), "a wrong height is accepted");
    tally.check(refused([](RectifyParams& p) { p.window.columns.stride = 0; }), "stride 0 is accepted");
    tally.check(refused([](RectifyParams& p) { p.window.rows.pad_after = -1; }), "a negative pad is accepted");
    tally.check(refused([](RectifyParams& p) { p.window.rows.kernel = 11; }), "a window that is too large is accepted");
    tally.check(refused([](RectifyParams& p) { p.window.rows.size = INT64_MAX; }), "a size of 2^63 is accepted");
    tally.check(refused([](RectifyParams& p) { p.batch = INT64_MAX; }), "2^63 images are accepted");
    tally.check(refused([](RectifyParams& p) { p.window.numerator = -1; }), "a negative numerator is accepted");
}

int check_parameters() {
    Tally tally;
    check_sharing(tally);
    check_vectors(tally);
    check_cost(tally);
    check_refusals(tally);
    return tally.close("parameters");
}

}  // namespace
}  // namespace rectexport::testing

int main(int count, char** arguments) {
    if (count != 2) {
        std::fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
        return 2;
    }
    return rectexport::testing::check_tensors(std::string(arguments[1]) + "/tensors.bin") |
           rectexport::testing::check_parameters();
}
