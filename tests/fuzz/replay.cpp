// Runs a fuzz target without libFuzzer:  fuzz_NAME [--mutations N] FILE|FOLDER...
// Every file once as it is, then N times with bytes changed, cut out or cut off, from a fixed seed.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Buffer = std::vector<std::uint8_t>;

void run(const Buffer& bytes) {
  // A copy of exactly this size: a sanitizer sees a read of one byte too many.
  const Buffer exact(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

void mutate(Buffer& bytes, std::minstd_rand& random) {
  for (auto changes = 1 + random() % 4; changes > 0 && !bytes.empty(); --changes) {
    const std::size_t at = random() % bytes.size();
    const auto here = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    switch (random() % 8) {
      case 0: bytes.resize(at); break;
      case 1:
        bytes.erase(here, here + static_cast<std::ptrdiff_t>(
                                     std::min<std::size_t>(1 + random() % 8, bytes.size() - at)));
        break;
      case 2: bytes.insert(here, static_cast<std::uint8_t>(random())); break;
      case 3: bytes[at] = random() % 2 == 0 ? 0x00 : 0xFF; break;
      default: bytes[at] = static_cast<std::uint8_t>(random()); break;
    }
  }
}

std::vector<std::filesystem::path> files_below(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return {path};
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  unsigned long mutations = 0;
  std::size_t runs = 0;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--mutations" && i + 1 < arguments.size()) {
      mutations = std::stoul(arguments[++i]);
      continue;
    }
    for (const auto& path : files_below(arguments[i])) {
      std::ifstream file(path, std::ios::binary);
      const Buffer bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
      run(bytes);
      ++runs;
      std::minstd_rand random(static_cast<unsigned>(bytes.size()) + 1);
      for (unsigned long m = 0; m < mutations; ++m, ++runs) {
        Buffer changed = bytes;
        mutate(changed, random);
        run(changed);
      }
    }
  }
  std::printf("%zu inputs, no complaint\n", runs);
  return runs > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
