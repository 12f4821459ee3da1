#include "codec_images.hpp"

#include <cstdio>
#include <cstring>

#include <jpeglib.h>

#include <spng.h>
#include <webp/encode.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>

namespace eyespot::test {
namespace {

void append(Buffer& to, const Buffer& from) {
  to.insert(to.end(), from.begin(), from.end());
}

void append_be32(Buffer& to, std::uint32_t value) {
  for (const unsigned shift : {24U, 16U, 8U, 0U}) {
    to.push_back(static_cast<std::uint8_t>(value >> shift));
  }
}

void append_le(Buffer& to, std::uint32_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) {
    to.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
  }
}

std::uint32_t crc32(const Buffer& bytes) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const std::uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
  }
  return ~crc;
}

void insert_png_chunk(Buffer& png, std::size_t at, const char* name, const Buffer& data) {
  Buffer named(name, name + 4);
  append(named, data);
  Buffer chunk;
  append_be32(chunk, static_cast<std::uint32_t>(data.size()));
  append(chunk, named);
  append_be32(chunk, crc32(named));
  png.insert(png.begin() + static_cast<std::ptrdiff_t>(at), chunk.begin(), chunk.end());
}

void append_riff_chunk(Buffer& to, const char* name, const Buffer& data) {
  to.insert(to.end(), name, name + 4);
  append_le(to, static_cast<std::uint32_t>(data.size()), 4);
  append(to, data);
  if (data.size() % 2 != 0) to.push_back(0);
}

void set_jpeg_colour(jpeg_compress_struct& cinfo, const JpegOptions& options) {
  using Colour = JpegOptions::Colour;
  switch (options.colour) {
    case Colour::grey: jpeg_set_colorspace(&cinfo, JCS_GRAYSCALE); break;
    case Colour::ycbcr: jpeg_set_colorspace(&cinfo, JCS_YCbCr); break;
    case Colour::rgb: jpeg_set_colorspace(&cinfo, JCS_RGB); break;
    case Colour::cmyk: jpeg_set_colorspace(&cinfo, JCS_CMYK); break;
    case Colour::ycck: jpeg_set_colorspace(&cinfo, JCS_YCCK); break;
  }
  for (int i = 0; i < cinfo.num_components; ++i) {
    cinfo.comp_info[i].h_samp_factor = i == 0 ? options.luma_h : 1;
    cinfo.comp_info[i].v_samp_factor = i == 0 ? options.luma_v : 1;
  }
}

std::size_t jpeg_channels(JpegOptions::Colour colour) {
  switch (colour) {
    case JpegOptions::Colour::grey: return 1;
    case JpegOptions::Colour::cmyk:
    case JpegOptions::Colour::ycck: return 4;
    default: return 3;
  }
}

J_COLOR_SPACE jpeg_input(std::size_t channels) {
  return channels == 1 ? JCS_GRAYSCALE : (channels == 3 ? JCS_RGB : JCS_CMYK);
}

}  // namespace

Buffer picture(Size size, std::size_t channels) {
  Buffer samples(std::size_t{size.width} * size.height * channels);
  std::size_t i = 0;
  for (std::uint32_t y = 0; y < size.height; ++y) {
    for (std::uint32_t x = 0; x < size.width; ++x) {
      for (std::size_t c = 0; c < channels; ++c, ++i) {
        const double wave = std::sin(0.31 * x + 0.9 * static_cast<double>(c)) +
                            std::cos(0.23 * y - 0.05 * x) +
                            ((x / 7 + y / 5 + c) % 3 == 0 ? 0.9 : -0.4);
        samples[i] = static_cast<std::uint8_t>(std::clamp(128 + wave * 52, 0.0, 255.0));
      }
    }
  }
  return samples;
}

Buffer encode_jpeg(Size size, const JpegOptions& options) {
  const std::size_t channels = jpeg_channels(options.colour);
  Buffer samples = picture(size, channels);
  jpeg_compress_struct cinfo{};
  jpeg_error_mgr errors{};
  cinfo.err = jpeg_std_error(&errors);
  jpeg_create_compress(&cinfo);
  unsigned char* out = nullptr;
  unsigned long out_size = 0;
  jpeg_mem_dest(&cinfo, &out, &out_size);
  cinfo.image_width = size.width;
  cinfo.image_height = size.height;
  cinfo.input_components = static_cast<int>(channels);
  cinfo.in_color_space = jpeg_input(channels);
  jpeg_set_defaults(&cinfo);
  jpeg_set_quality(&cinfo, options.quality, TRUE);
  set_jpeg_colour(cinfo, options);
  cinfo.restart_in_rows = options.restart_rows;
  cinfo.optimize_coding = options.own_codes ? TRUE : FALSE;
  cinfo.arith_code = options.arithmetic ? TRUE : FALSE;
  if (options.progressive) jpeg_simple_progression(&cinfo);
  std::array<jpeg_scan_info, 4> scans{};
  if (options.separate_scans) {
    for (int i = 0; i < cinfo.num_components; ++i) {
      jpeg_scan_info& scan = scans[static_cast<std::size_t>(i)];
      scan.comps_in_scan = 1;
      scan.component_index[0] = i;
      scan.Se = DCTSIZE2 - 1;
    }
    cinfo.scan_info = scans.data();
    cinfo.num_scans = cinfo.num_components;
  }
  jpeg_start_compress(&cinfo, TRUE);
  if (options.orientation != 0) {
    Buffer exif{'E', 'x', 'i', 'f', 0, 0};
    append(exif, exif_block(options.orientation, options.orientation % 2 == 0));
    jpeg_write_marker(&cinfo, JPEG_APP0 + 1, exif.data(), static_cast<unsigned>(exif.size()));
  }
  while (cinfo.next_scanline < cinfo.image_height) {
    JSAMPROW row = samples.data() + std::size_t{cinfo.next_scanline} * size.width * channels;
    jpeg_write_scanlines(&cinfo, &row, 1);
  }
  jpeg_finish_compress(&cinfo);
  Buffer result(out, out + out_size);
  jpeg_destroy_compress(&cinfo);
  std::free(out);  // NOLINT(cppcoreguidelines-no-malloc): jpeg_mem_dest() allocates with malloc
  return result;
}

Buffer decode_ycbcr(const Buffer& jpeg, unsigned scale_log2) {
  jpeg_decompress_struct cinfo{};
  jpeg_error_mgr errors{};
  cinfo.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&cinfo);
  jpeg_mem_src(&cinfo, jpeg.data(), jpeg.size());
  jpeg_read_header(&cinfo, TRUE);
  cinfo.out_color_space = JCS_YCbCr;
  cinfo.do_fancy_upsampling = FALSE;
  cinfo.scale_denom = 1U << scale_log2;
  jpeg_start_decompress(&cinfo);
  const std::size_t row_bytes = std::size_t{cinfo.output_width} * 3;
  Buffer pixels(row_bytes * cinfo.output_height);
  while (cinfo.output_scanline < cinfo.output_height) {
    JSAMPROW row = pixels.data() + cinfo.output_scanline * row_bytes;
    jpeg_read_scanlines(&cinfo, &row, 1);
  }
  jpeg_finish_decompress(&cinfo);
  jpeg_destroy_decompress(&cinfo);
  return pixels;
}

Buffer encode_png(Size size, const PngOptions& options, const Buffer& samples) {
  const auto context = std::unique_ptr<spng_ctx, decltype(&spng_ctx_free)>(
      spng_ctx_new(SPNG_CTX_ENCODER), spng_ctx_free);
  spng_set_option(context.get(), SPNG_ENCODE_TO_BUFFER, 1);
  spng_ihdr header{};
  header.width = size.width;
  header.height = size.height;
  header.bit_depth = options.bit_depth;
  header.color_type = options.colour_type;
  header.interlace_method = options.interlaced ? 1 : 0;
  spng_set_ihdr(context.get(), &header);
  if (options.colour_type == SPNG_COLOR_TYPE_INDEXED) {
    spng_plte palette{};
    palette.n_entries = 1U << options.bit_depth;
    for (std::uint32_t i = 0; i < palette.n_entries; ++i) {
      palette.entries[i] = {.red = static_cast<std::uint8_t>(i * 37),
                            .green = static_cast<std::uint8_t>(255 - i * 11),
                            .blue = static_cast<std::uint8_t>(i * 5 + 3),
                            .alpha = 255};
    }
    spng_set_plte(context.get(), &palette);
  }
  if (options.transparency) {
    spng_trns trns{};
    trns.n_type3_entries = 2;
    trns.type3_alpha[0] = 0;
    trns.type3_alpha[1] = 128;
    spng_set_trns(context.get(), &trns);
  }
  const int error = spng_encode_image(context.get(), samples.data(), samples.size(), SPNG_FMT_RAW,
                                      SPNG_ENCODE_FINALIZE);
  if (error != 0) throw std::runtime_error(spng_strerror(error));
  std::size_t length = 0;
  int status = 0;
  void* bytes = spng_get_png_buffer(context.get(), &length, &status);
  Buffer png(static_cast<std::uint8_t*>(bytes), static_cast<std::uint8_t*>(bytes) + length);
  std::free(bytes);  // NOLINT(cppcoreguidelines-no-malloc): libspng allocates with malloc
  if (options.orientation != 0) {
    constexpr std::size_t kAfterIhdr = 33;
    insert_png_chunk(png, kAfterIhdr, "eXIf", exif_block(options.orientation, true));
  }
  return png;
}

Buffer encode_webp(Size size, std::size_t channels, const Buffer& samples, float quality) {
  std::uint8_t* out = nullptr;
  const auto width = static_cast<int>(size.width);
  const auto height = static_cast<int>(size.height);
  const int stride = width * static_cast<int>(channels);
  std::size_t length = 0;
  if (quality < 0) {
    length = channels == 4 ? WebPEncodeLosslessRGBA(samples.data(), width, height, stride, &out)
                           : WebPEncodeLosslessRGB(samples.data(), width, height, stride, &out);
  } else {
    length = channels == 4 ? WebPEncodeRGBA(samples.data(), width, height, stride, quality, &out)
                           : WebPEncodeRGB(samples.data(), width, height, stride, quality, &out);
  }
  Buffer result(out, out + length);
  WebPFree(out);
  return result;
}

Buffer wrap_webp(const Buffer& simple, const WebpContainer& container) {
  constexpr std::uint8_t kAnimation = 0x02;
  constexpr std::uint8_t kExif = 0x08;
  constexpr std::uint8_t kAlpha = 0x10;
  // The encoder writes lossy alpha as an extended file already: leave out its VP8X chunk.
  const std::ptrdiff_t first = simple.at(15) == 'X' ? 12 + 18 : 12;
  const Buffer chunks(simple.begin() + first, simple.end());
  Buffer body;
  Buffer header;
  header.push_back(static_cast<std::uint8_t>((container.animated ? kAnimation : 0) |
                                             (container.orientation != 0 ? kExif : 0) |
                                             (container.alpha ? kAlpha : 0)));
  append_le(header, 0, 3);
  append_le(header, container.canvas.width - 1, 3);
  append_le(header, container.canvas.height - 1, 3);
  append_riff_chunk(body, "VP8X", header);
  if (container.animated) {
    append_riff_chunk(body, "ANIM", {0x10, 0x20, 0x30, 0xFF, 0, 0});
    Buffer frame;
    append_le(frame, container.frame.x / 2, 3);
    append_le(frame, container.frame.y / 2, 3);
    append_le(frame, container.frame.width - 1, 3);
    append_le(frame, container.frame.height - 1, 3);
    append_le(frame, 100, 3);
    frame.push_back(0);
    append(frame, chunks);
    append_riff_chunk(body, "ANMF", frame);
  } else {
    append(body, chunks);
  }
  if (container.orientation != 0) {
    append_riff_chunk(body, "EXIF", exif_block(container.orientation, false));
  }
  Buffer file{'R', 'I', 'F', 'F'};
  append_le(file, static_cast<std::uint32_t>(body.size()) + 4, 4);
  append(file, {'W', 'E', 'B', 'P'});
  append(file, body);
  return file;
}

Buffer exif_block(int orientation, bool big_endian) {
  const auto value = static_cast<std::uint8_t>(orientation);
  if (big_endian) {
    return {'M', 'M', 0, 42, 0, 0, 0,     8, 0, 1, 0x01, 0x12, 0,
            3,   0,   0, 0,  1, 0, value, 0, 0, 0, 0,    0,    0};
  }
  return {'I', 'I', 42, 0, 8, 0,     0, 0, 1, 0, 0x12, 0x01, 3,
          0,   1,   0,  0, 0, value, 0, 0, 0, 0, 0,    0,    0};
}

void CollectSink::begin(const RowStream& stream) {
  stream_ = stream;
  for (std::size_t k = 0; k < stream.plane_count; ++k) {
    samples_.at(k).reserve(row_bytes(k) * stream.planes.at(k).size.height);
  }
}

std::size_t CollectSink::row_bytes(std::size_t plane) const {
  const std::size_t samples = stream_.layout == RowLayout::rgb ? 3 : 1;
  return stream_.planes.at(plane).size.width * samples;
}

void CollectSink::row(std::size_t plane, std::uint32_t y, const std::uint8_t* samples) {
  in_order_ = in_order_ && y == rows_.at(plane);
  ++rows_.at(plane);
  samples_.at(plane).insert(samples_.at(plane).end(), samples, samples + row_bytes(plane));
}

bool CollectSink::complete() const {
  for (std::size_t k = 0; k < stream_.plane_count; ++k) {
    if (rows_.at(k) != stream_.planes.at(k).size.height) return false;
  }
  return in_order_;
}

}  // namespace eyespot::test
