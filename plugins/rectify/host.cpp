#include "host.h"

#include "plan.h"
#include "walk.h"

namespace rectexport {
namespace {

template <class Way>
void walk_grid(const RectifyParams& params, const Plan& plan) {
    const Extent threads{plan.grid.x * plan.block.x, plan.grid.y * plan.block.y, plan.grid.z * plan.block.z};
    for (std::int64_t z = 0; z < threads.z; ++z) {
        for (std::int64_t y = 0; y < threads.y; ++y) {
            for (std::int64_t x = 0; x < threads.x; ++x) {
                Way::walk(params, plan, {{x, y, z}, threads});
            }
        }
    }
}

}  // namespace

const char* rectify_on_host(const RectifyParams& params) noexcept {
    if (const char* fault = rectify_fault(params)) {
        return fault;
    }
    const Plan plan = rectify_plan(params);
    with_walk(params, plan, [&](auto way) { walk_grid<decltype(way)>(params, plan); });
    return nullptr;
}

}  // namespace rectexport
