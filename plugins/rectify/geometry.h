// Which windows of a rectified convolution overhang its input, and by how many taps; for CPU and GPU.
//
// The tests compare it with plugins/reference.py (valid_taps, rectification_map).
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define RECTEXPORT_BOTH __host__ __device__
#else
#define RECTEXPORT_BOTH
#endif

namespace rectexport {

// a / b for a >= 0, b > 0. Operands below 2^32 are divided in 32 bits: a GPU takes several times longer in 64.
RECTEXPORT_BOTH constexpr std::int64_t quotient(std::int64_t a, std::int64_t b) {
    const bool narrow = ((a | b) >> 32) == 0;
    return narrow ? static_cast<std::int64_t>(static_cast<std::uint32_t>(a) / static_cast<std::uint32_t>(b)) : a / b;
}

// a / b rounded up, for a >= 0, b > 0.
RECTEXPORT_BOTH constexpr std::int64_t quotient_up(std::int64_t a, std::int64_t b) { return quotient(a + b - 1, b); }

RECTEXPORT_BOTH constexpr std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

// One spatial axis of a convolution: its input and output sizes, and its window.
struct Axis {
    std::int64_t size;
    std::int64_t out;
    std::int64_t kernel;
    std::int64_t stride;
    std::int64_t pad_before;
    std::int64_t pad_after;
    std::int64_t dilation;
};

// The output size that follows from the window; 0 if the window is larger than the padded input.
RECTEXPORT_BOTH constexpr std::int64_t output_size(const Axis& axis) {
    const std::int64_t room = axis.pad_before + axis.size + axis.pad_after - (axis.kernel - 1) * axis.dilation - 1;
    return room < 0 ? 0 : quotient(room, axis.stride) + 1;
}

// Kernel taps of output `index` that land inside the input: eq. (5) of Rectified Convolution, for one axis.
RECTEXPORT_BOTH constexpr std::int64_t valid_taps(const Axis& axis, std::int64_t index) {
    const std::int64_t start = index * axis.stride - axis.pad_before;
    const std::int64_t skipped = start < 0 ? quotient_up(-start, axis.dilation) : 0;
    const std::int64_t room = axis.size - start;
    const std::int64_t end = room > 0 ? least(quotient_up(room, axis.dilation), axis.kernel) : 0;
    return end > skipped ? end - skipped : 0;
}

// [begin, end)
struct Span {
    std::int64_t begin;
    std::int64_t end;

    RECTEXPORT_BOTH constexpr std::int64_t size() const { return end - begin; }
};

// The outputs of an axis whose windows lie wholly inside the input. They are consecutive; there may be none.
RECTEXPORT_BOTH constexpr Span interior(const Axis& axis) {
    const std::int64_t begin = least(quotient_up(axis.pad_before, axis.stride), axis.out);
    const std::int64_t room = axis.size + axis.pad_before - (axis.kernel - 1) * axis.dilation - 1;
    const std::int64_t end = room < 0 ? 0 : least(quotient(room, axis.stride) + 1, axis.out);
    return end > begin ? Span{begin, end} : Span{axis.out, axis.out};
}

struct Pixel {
    std::int64_t row;
    std::int64_t column;
};

// A plane without a rectangle. Its pixels are numbered: the rows above the rectangle, the rows below it, then the
// pixels beside it.
struct Region {
    std::int64_t height;
    std::int64_t width;
    Span rows;
    Span columns;

    RECTEXPORT_BOTH constexpr std::int64_t size() const { return height * width - rows.size() * columns.size(); }

    RECTEXPORT_BOTH constexpr Pixel at(std::int64_t index) const {
        const std::int64_t full_rows = height - rows.size();
        if (index < full_rows * width) {
            const std::int64_t row = quotient(index, width);
            return {row < rows.begin ? row : row + rows.size(), index - row * width};
        }
        const std::int64_t rest = index - full_rows * width;
        const std::int64_t beside = width - columns.size();
        const std::int64_t row = quotient(rest, beside);
        const std::int64_t column = rest - row * beside;
        return {rows.begin + row, column < columns.begin ? column : column + columns.size()};
    }
};

// A convolution's window on both axes, and the numerator of its factor: m*n for the sum mode, 1 for the average.
struct Window {
    Axis rows;
    Axis columns;
    std::int64_t numerator;

    // Whether a window wholly inside the input has the factor 1.
    RECTEXPORT_BOTH constexpr bool keeps_interior() const { return numerator == rows.kernel * columns.kernel; }

    // r = numerator / v, eqs. (4) and (6), and 0 where v = 0. In float, like the dialect's function body.
    RECTEXPORT_BOTH constexpr float factor_of(std::int64_t taps) const {
        return taps == 0 ? 0.0F : static_cast<float>(numerator) / static_cast<float>(taps);
    }

    RECTEXPORT_BOTH constexpr float factor(Pixel pixel) const {
        return factor_of(valid_taps(rows, pixel.row) * valid_taps(columns, pixel.column));
    }

    RECTEXPORT_BOTH constexpr Region plane() const {
        return {rows.out, columns.out, {rows.out, rows.out}, {columns.out, columns.out}};
    }

    // The pixels whose windows overhang the input.
    RECTEXPORT_BOTH constexpr Region border() const {
        const Span inner_rows = interior(rows);
        const Span inner_columns = interior(columns);
        const bool hollow = inner_rows.size() > 0 && inner_columns.size() > 0;
        return hollow ? Region{rows.out, columns.out, inner_rows, inner_columns} : plane();
    }
};

}  // namespace rectexport
