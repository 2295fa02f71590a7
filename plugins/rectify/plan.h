// How the pixels, channels and images of one call are dealt to threads.
#pragma once

#include <cstdint>

#include "kernel.h"

namespace rectexport {

struct Extent {
    std::int64_t x;
    std::int64_t y;
    std::int64_t z;
};

// Along x go a region's pixels and, channels last, the vectors of channels in each; along y the planes of an image,
// channels first; along z the images. Counts and pitches are in elements.
struct Plan {
    Region region;
    std::int64_t lanes;    // channels in a vector
    std::int64_t vectors;  // vectors in a pixel
    std::int64_t planes;   // planes in an image
    std::int64_t pixel_pitch;
    std::int64_t plane_pitch;
    std::int64_t image_pitch;
    Extent block;
    Extent grid;

    RECTEXPORT_BOTH constexpr std::int64_t items() const { return region.size() * vectors; }
};

// The plan for parameters that have no fault.
Plan rectify_plan(const RectifyParams& params) noexcept;

}  // namespace rectexport
