// One tensor to rectify: read from the file of dump_cases.py, converted to a layout, and compared afterwards.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "case_file.h"
#include "kernel.h"
#include "numbers.h"

namespace rectexport::testing {

using Bytes = std::vector<unsigned char>;

struct TensorCase {
    RectifyParams params;  // without pointers
    std::vector<double> y;
    std::vector<double> bias;
    double slack;
    std::vector<double> expected;
};

inline TensorCase read_tensor(CaseFile& file) {
    TensorCase found{};
    RectifyParams& params = found.params;
    params.type = static_cast<ElementType>(file.one<std::int64_t>());
    params.layout = static_cast<Layout>(file.one<std::int64_t>());
    params.batch = file.one<std::int64_t>();
    params.channels = file.one<std::int64_t>();
    params.window = file.window();
    params.empty_bias = file.one<std::int64_t>() != 0;
    params.biased = file.one<std::int64_t>() != 0;
    const bool has_bias = file.one<std::int64_t>() != 0;
    const std::int64_t count = params.batch * params.channels * params.window.rows.out * params.window.columns.out;
    found.y = file.many<double>(count);
    found.bias = file.many<double>(has_bias ? params.channels : 0);
    found.slack = file.one<double>();
    found.expected = file.many<double>(count);
    return found;
}

inline std::string text_of(const TensorCase& c) {
    return "type " + std::to_string(static_cast<int>(c.params.type)) + " layout " +
           std::to_string(static_cast<int>(c.params.layout)) + " batch " + std::to_string(c.params.batch) +
           " channels " + std::to_string(c.params.channels) +
           (c.bias.empty()    ? ""
            : c.params.biased ? " with bias in y "
                              : " with bias ") +
           " " + text_of(c.params.window);
}

inline std::size_t element_size(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

template <class T>
void put(unsigned char* at, double value) {
    T number{};
    from_float(static_cast<float>(value), number);
    std::memcpy(at, &number, sizeof number);
}

inline void write_element(ElementType type, unsigned char* at, double value) {
    type == ElementType::kFloat32   ? put<float>(at, value)
    : type == ElementType::kFloat16 ? put<Half>(at, value)
                                    : put<BFloat16>(at, value);
}

template <class T>
double get(const unsigned char* at) {
    T number{};
    std::memcpy(&number, at, sizeof number);
    return static_cast<double>(to_float(number));
}

inline double read_element(ElementType type, const unsigned char* at) {
    return type == ElementType::kFloat32   ? get<float>(at)
           : type == ElementType::kFloat16 ? get<Half>(at)
                                           : get<BFloat16>(at);
}

// Half a unit in the last place, relative to the value.
inline double rounding(ElementType type) {
    return type == ElementType::kFloat32 ? 0x1p-24 : type == ElementType::kFloat16 ? 0x1p-11 : 0x1p-8;
}

// Calls visit(index in NCHW order, offset in bytes in the layout).
template <class Visit>
void for_each_element(const RectifyParams& p, Visit visit) {
    const std::int64_t height = p.window.rows.out;
    const std::int64_t width = p.window.columns.out;
    const std::int64_t pitch = p.layout == Layout::kNhwc8 ? (p.channels + 7) / 8 * 8 : p.channels;
    std::size_t index = 0;
    for (std::int64_t n = 0; n < p.batch; ++n) {
        for (std::int64_t c = 0; c < p.channels; ++c) {
            for (std::int64_t h = 0; h < height; ++h) {
                for (std::int64_t w = 0; w < width; ++w) {
                    const std::int64_t element = p.layout == Layout::kNchw
                                                     ? ((n * p.channels + c) * height + h) * width + w
                                                     : ((n * height + h) * width + w) * pitch + c;
                    visit(index++, static_cast<std::size_t>(element) * element_size(p.type));
                }
            }
        }
    }
}

// y in the given layout; padded channels are 0.
inline Bytes packed(const TensorCase& c) {
    Bytes bytes(static_cast<std::size_t>(rectify_bytes(c.params)));
    for_each_element(c.params, [&](std::size_t index, std::size_t offset) {
        write_element(c.params.type, bytes.data() + offset, c.y.at(index));
    });
    return bytes;
}

inline Bytes packed_bias(const TensorCase& c) {
    Bytes bytes(c.bias.size() * element_size(c.params.type));
    for (std::size_t i = 0; i < c.bias.size(); ++i) {
        write_element(c.params.type, bytes.data() + i * element_size(c.params.type), c.bias[i]);
    }
    return bytes;
}

inline void compare(Tally& tally, const TensorCase& c, const unsigned char* result) {
    double worst = 0;
    for_each_element(c.params, [&](std::size_t index, std::size_t offset) {
        const double expected = c.expected.at(index);
        const double error = std::abs(read_element(c.params.type, result + offset) - expected);
        const double allowed = rounding(c.params.type) * std::abs(expected) + c.slack;
        worst = error <= allowed ? std::max(worst, error / allowed) : HUGE_VAL;
    });
    tally.check(worst <= 1, "differs from the reference: " + text_of(c));
}

}  // namespace rectexport::testing
