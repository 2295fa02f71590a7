// Compares the kernel's code on the CPU with the reference: all types and layouts, odd sizes, guard bytes.
#include "host.h"

#include "guarded_buffer.h"
#include "plan.h"

namespace rectexport::testing {
namespace {

void check_run(Tally& tally, const TensorCase& c, std::size_t shift) {
    GuardedBuffer buffer(packed(c), shift);
    const Bytes bias = packed_bias(c);
    RectifyParams params = c.params;
    params.y = buffer.data();
    params.bias = c.bias.empty() ? nullptr : bias.data();
    const char* fault = rectify_on_host(params);
    tally.check(fault == nullptr, std::string(fault == nullptr ? "" : fault) + ": " + text_of(c));
    compare(tally, c, buffer.data());
    tally.check(buffer.unharmed(), "wrote outside the buffer: " + text_of(c));
}

int check_tensors(const std::string& path) {
    Tally tally;
    for (CaseFile file(path); !file.at_end();) {
        const TensorCase c = read_tensor(file);
        check_run(tally, c, 0);
        check_run(tally, c, element_size(c.params.type));  // too little alignment for vectors
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

void check_cost(Tally& tally) {
    float y = 0;
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
