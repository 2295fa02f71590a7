// How the pixels, channels and images of one call are distributed over threads.
#pragma once

#include <cstdint>

#include "kernel.h"

namespace rectexport {

// The longest load and store of a thread.
constexpr int kVectorBytes = 16;

struct Extent {
    std::int64_t x;
    std::int64_t y;
    std::int64_t z;
};

// A vector is what a thread loads and stores at once: in NCHW consecutive pixels of a row, in the other layouts
// consecutive channels of a pixel.
//
// The x axis runs over the places of a region and the vectors of each place: in NCHW a place is a vector, in the other
// layouts a pixel. The y axis runs over the planes of an image in NCHW, the z axis over images. Pitches are in
// elements.
struct Plan {
    Region region;
    std::int64_t lanes;    // elements of a vector
    std::int64_t vectors;  // vectors at a place
    std::int64_t planes;   // planes in an image
    std::int64_t place_pitch;
    std::int64_t plane_pitch;
    std::int64_t image_pitch;
    Span whole_columns;  // pixels whose windows do not overhang the input on the left or right
    bool vector_bias;    // the bias can be read in vectors
    Extent block;
    Extent grid;

    RECTEXPORT_BOTH constexpr std::int64_t items() const { return region.size() * vectors; }
};

// The plan for parameters in which rectify_fault finds no fault.
Plan rectify_plan(const RectifyParams& params) noexcept;

}  // namespace rectexport
