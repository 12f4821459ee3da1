// Writes small valid files to start fuzzing from:  fuzz_make_seeds FOLDER

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "codec_images.hpp"

using namespace eyespot;
using namespace eyespot::test;

namespace {

void write(const std::filesystem::path& path, const Buffer& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  for (const std::uint8_t byte : bytes) file.put(static_cast<char>(byte));
}

void write_jpegs(const std::filesystem::path& folder) {
  constexpr Size kSize{.width = 33, .height = 26};
  using Colour = JpegOptions::Colour;
  const auto save = [&](const std::string& name, const JpegOptions& options) {
    write(folder / (name + ".jpg"), encode_jpeg(kSize, options));
  };
  save("444", {.orientation = 6});
  save("420", {.luma_h = 2, .luma_v = 2, .restart_rows = 1});
  save("422", {.luma_h = 2, .own_codes = true, .quality = 98});
  save("440", {.luma_v = 2, .restart_rows = 2, .quality = 40});
  save("411", {.luma_h = 4});
  save("410", {.luma_h = 4, .luma_v = 2});
  save("grey", {.colour = Colour::grey});
  save("rgb", {.colour = Colour::rgb});
  save("cmyk", {.colour = Colour::cmyk});
  save("ycck", {.colour = Colour::ycck, .luma_h = 2, .luma_v = 2});
  save("progressive", {.luma_h = 2, .luma_v = 2, .progressive = true});
  save("arithmetic", {.luma_h = 2, .arithmetic = true});
  save("scans", {.luma_v = 2, .separate_scans = true});
}

void write_pngs(const std::filesystem::path& folder) {
  constexpr Size kSize{.width = 19, .height = 11};
  for (const std::uint8_t colour_type : std::to_array<std::uint8_t>({0, 2, 3, 4, 6})) {
    for (const std::uint8_t bit_depth : std::to_array<std::uint8_t>({4, 8, 16})) {
      const bool possible = bit_depth == 8 ||
                            (bit_depth == 4 && (colour_type == 0 || colour_type == 3)) ||
                            (bit_depth == 16 && colour_type != 3);
      if (!possible) continue;
      constexpr std::size_t kChannels[] = {1, 0, 3, 1, 2, 0, 4};
      const std::size_t bits = kSize.width * kChannels[colour_type] * bit_depth;
      Buffer rows = picture({.width = 8, .height = 400}, 3);
      rows.resize((bits + 7) / 8 * kSize.height);
      for (const bool interlaced : {false, true}) {
        const std::string name = std::to_string(colour_type) + "_" + std::to_string(bit_depth) +
                                 (interlaced ? "_adam7" : "") + ".png";
        write(folder / name, encode_png(kSize,
                                        {.colour_type = colour_type,
                                         .bit_depth = bit_depth,
                                         .interlaced = interlaced,
                                         .transparency = colour_type == 3,
                                         .orientation = bit_depth == 8 ? 7 : 0},
                                        rows));
      }
    }
  }
}

void write_webps(const std::filesystem::path& folder) {
  constexpr Size kSize{.width = 34, .height = 22};
  for (const std::size_t channels : {3U, 4U}) {
    for (const float quality : {-1.0F, 70.0F}) {
      const Buffer simple = encode_webp(kSize, channels, picture(kSize, channels), quality);
      const std::string name = std::to_string(channels) + (quality < 0 ? "_lossless" : "_lossy");
      write(folder / (name + ".webp"), simple);
      write(folder / (name + "_animated.webp"),
            wrap_webp(simple, {.canvas = {.width = 50, .height = 40},
                               .frame = {.x = 6, .y = 4, .width = 34, .height = 22},
                               .animated = true,
                               .alpha = channels == 4,
                               .orientation = 5}));
    }
  }
}

}  // namespace

// NOLINTNEXTLINE(misc-const-correctness): the signature that main has
int main(int argc, const char** argv) {
  if (argc != 2) return EXIT_FAILURE;
  const std::filesystem::path folder(argv[1]);
  write_jpegs(folder / "jpeg");
  write_pngs(folder / "png");
  write_webps(folder / "webp");
  write(folder / "exif" / "big.exif", exif_block(6, true));
  write(folder / "exif" / "little.exif", exif_block(8, false));
  return EXIT_SUCCESS;
}
