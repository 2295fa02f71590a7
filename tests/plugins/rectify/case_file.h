// Reads the files that dump_cases.py writes and describes.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "geometry.h"

namespace rectexport::testing {

class CaseFile {
public:
    explicit CaseFile(const std::string& path) : stream_(path, std::ios::binary) {
        if (!stream_) {
            std::fprintf(stderr, "%s cannot be read: run dump_cases.py first\n", path.c_str());
            std::exit(2);
        }
    }

    bool at_end() { return stream_.peek() == std::ifstream::traits_type::eof(); }

    template <class T>
    std::vector<T> many(std::int64_t count) {
        std::vector<T> values(static_cast<std::size_t>(count));
        stream_.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
        if (!stream_) {
            std::fprintf(stderr, "the file of cases is truncated: run dump_cases.py again\n");
            std::exit(2);
        }
        return values;
    }

    template <class T>
    T one() {
        return many<T>(1).front();
    }

    Axis axis() {
        const auto v = many<std::int64_t>(7);
        return {v[0], v[1], v[2], v[3], v[4], v[5], v[6]};
    }

    Window window() {
        const Axis rows = axis();
        const Axis columns = axis();
        return {rows, columns, one<std::int64_t>()};
    }

private:
    std::ifstream stream_;
};

// Counts checks and failures, and prints the first few failures.
class Tally {
public:
    void check(bool good, const std::string& what) {
        ++checked_;
        if (!good && ++failed_ <= 10) {
            std::fprintf(stderr, "FAILED %s\n", what.c_str());
        }
    }

    // The process's exit status.
    int close(const char* what) const {
        std::printf("%s: %lld checks, %lld failed\n", what, checked_, failed_);
        return failed_ == 0 && checked_ > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    }

private:
    long long checked_ = 0;
    long long failed_ = 0;
};

inline std::string text_of(const Axis& a) {
    return "size " + std::to_string(a.size) + " out " + std::to_string(a.out) + " kernel " + std::to_string(a.kernel) +
           " stride " + std::to_string(a.stride) + " pads " + std::to_string(a.pad_before) + "," +
           std::to_string(a.pad_after) + " dilation " + std::to_string(a.dilation);
}

inline std::string text_of(const Window& w) {
    return "rows (" + text_of(w.rows) + ") columns (" + text_of(w.columns) + ") numerator " +
           std::to_string(w.numerator);
}

}  // namespace rectexport::testing
