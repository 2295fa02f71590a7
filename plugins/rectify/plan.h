// How the pixels, channels and images of one call are distributed over threads.
#pragma once

#include <cstdint>

#include "kernel.h"

namespace rectexport {

struct Extent {
    std::int64_t x;
    std::int64_t y;
    std::int64_t z;
};

// The x axis runs over the pixels of a region and, in layouts with channels last, over the vectors of channels of each
// pixel. The y axis runs over the planes of an image in NCHW, the z axis over images. Pitches are in elements.
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

// The plan for parameters in which rectify_fault finds no fault.
Plan rectify_plan(const RectifyParams& params) noexcept;

}  // namespace rectexport
