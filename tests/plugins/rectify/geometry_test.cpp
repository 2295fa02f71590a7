// Compares the index arithmetic with the reference, over thousands of geometries, and conversions with NumPy's.
#include "geometry.h"

#include <set>
#include <utility>

#include "case_file.h"
#include "numbers.h"

namespace rectexport::testing {
namespace {

void check_axis(Tally& tally, const Axis& axis, const std::vector<std::int64_t>& taps) {
    tally.check(output_size(axis) == axis.out, "output_size: " + text_of(axis));
    const Span inside = interior(axis);
    for (std::int64_t index = 0; index < axis.out; ++index) {
        const std::int64_t expected = taps.at(static_cast<std::size_t>(index));
        tally.check(valid_taps(axis, index) == expected,
                    "valid_taps at " + std::to_string(index) + ": " + text_of(axis));
        const bool is_inside = inside.begin <= index && index < inside.end;
        tally.check(is_inside == (expected == axis.kernel), "interior: " + text_of(axis));
    }
}

// Checks that the region holds each pixel whose window overhangs exactly once, and no others.
void check_border(Tally& tally,
                  const Window& window,
                  const std::vector<std::int64_t>& rows,
                  const std::vector<std::int64_t>& columns) {
    const Region border = window.border();
    const std::int64_t full = window.rows.kernel * window.columns.kernel;
    std::set<std::pair<std::int64_t, std::int64_t>> expected;
    for (std::int64_t h = 0; h < window.rows.out; ++h) {
        for (std::int64_t w = 0; w < window.columns.out; ++w) {
            if (rows.at(static_cast<std::size_t>(h)) * columns.at(static_cast<std::size_t>(w)) != full) {
                expected.insert({h, w});
            }
        }
    }
    std::set<std::pair<std::int64_t, std::int64_t>> found;
    for (std::int64_t index = 0; index < border.size(); ++index) {
        const Pixel pixel = border.at(index);
        found.insert({pixel.row, pixel.column});
    }
    // An axis without interior makes every pixel overhang, so the sets are equal there too.
    tally.check(found == expected && static_cast<std::int64_t>(found.size()) == border.size(),
                "border: " + text_of(window));
}

void check_factors(Tally& tally, const Window& window, const std::vector<double>& factors) {
    const Region plane = window.plane();
    bool equal = plane.size() == static_cast<std::int64_t>(factors.size());
    for (std::int64_t index = 0; equal && index < plane.size(); ++index) {
        // The float nearest to a quotient of small integers is the same whether or not a double stood in between.
        equal = window.factor(plane.at(index)) == static_cast<float>(factors.at(static_cast<std::size_t>(index)));
    }
    tally.check(equal, "factors: " + text_of(window));
}

int check_geometries(const std::string& path) {
    Tally tally;
    for (CaseFile file(path); !file.at_end();) {
        const Window window = file.window();
        const auto rows = file.many<std::int64_t>(window.rows.out);
        const auto columns = file.many<std::int64_t>(window.columns.out);
        const auto factors = file.many<double>(window.rows.out * window.columns.out);
        check_axis(tally, window.rows, rows);
        check_axis(tally, window.columns, columns);
        check_border(tally, window, rows, columns);
        check_factors(tally, window, factors);
    }
    return tally.close("geometries");
}

int check_numbers(const std::string& path) {
    Tally tally;
    for (CaseFile file(path); !file.at_end();) {
        const auto bits = file.many<std::uint32_t>(4);
        const float value = float_of(bits[0]);
        Half half{};
        BFloat16 bfloat{};
        from_float(value, half);
        from_float(value, bfloat);
        const bool good = half.bits == bits[1] && bfloat.bits == bits[2] && bits_of(to_float(half)) == bits[3] &&
                          bits_of(to_float(bfloat)) == bits[2] << 16;
        tally.check(good, "conversion of " + std::to_string(value));
    }
    return tally.close("numbers");
}

// Sizes too large for the tensors of a test.
int check_large() {
    Tally tally;
    const std::int64_t size = (std::int64_t{1} << 31) - 1;
    const Axis axis{size, size, 3, 1, 1, 1, 1};
    tally.check(output_size(axis) == size && valid_taps(axis, size - 1) == 2, "the last of 2^31 - 1 windows");
    const Region region{size, size, {1, size - 1}, {1, size - 1}};
    const Pixel last = region.at(region.size() - 1);
    tally.check(region.size() == 4 * size - 4, "the size of a border of 2^33");
    tally.check(last.row == size - 2 && last.column == size - 1, "its last pixel");
    const Pixel below = region.at(2 * size - 1);
    tally.check(below.row == size - 1 && below.column == size - 1, "its last corner");
    return tally.close("large sizes");
}

}  // namespace
}  // namespace rectexport::testing

int main(int count, char** arguments) {
    if (count != 2) {
        std::fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
        return 2;
    }
    const std::string folder = arguments[1];
    return rectexport::testing::check_geometries(folder + "/geometries.bin") |
           rectexport::testing::check_numbers(folder + "/numbers.bin") | rectexport::testing::check_large();
}
