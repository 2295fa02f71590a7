// A buffer between guard bytes, which show writes outside it.
#pragma once

#include <algorithm>

#include "tensor_case.h"

namespace rectexport::testing {

class GuardedBuffer {
public:
    static constexpr std::size_t kGuard = 512;

    // The content starts `shift` bytes after a 16-byte boundary.
    GuardedBuffer(const Bytes& content, std::size_t shift)
        : first_(kGuard + shift), size_(content.size()), storage_(kGuard + shift + size_ + kGuard + 16, kCanary) {
        first_ += 15 - (reinterpret_cast<std::uintptr_t>(storage_.data()) + kGuard + 15) % 16;
        std::copy(content.begin(), content.end(), data());
    }

    unsigned char* data() { return storage_.data() + first_; }

    Bytes& storage() { return storage_; }

    std::size_t first() const { return first_; }

    bool unharmed() const {
        const auto is_canary = [](unsigned char byte) { return byte == kCanary; };
        const auto begin = storage_.begin();
        const auto content = begin + static_cast<std::ptrdiff_t>(first_);
        const auto end = content + static_cast<std::ptrdiff_t>(size_);
        return std::all_of(begin, content, is_canary) && std::all_of(end, storage_.end(), is_canary);
    }

private:
    static constexpr unsigned char kCanary = 0xA5;

    std::size_t first_;
    std::size_t size_;
    Bytes storage_;
};

}  // namespace rectexport::testing
