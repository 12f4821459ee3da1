/* libjpeg-turbo alone: decodes to RGB rows, as many at a time as it likes, and forgets them. */
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

/* Returns the number of rows; `size` 0 decodes at full scale, else at the smallest 1/2^k that leaves
   both sides at least `size`. */
int decode_bare(const unsigned char* data, unsigned long length, unsigned size) {
  enum { kRows = 16 };
  struct jpeg_decompress_struct info;
  struct jpeg_error_mgr errors;
  JSAMPROW rows[kRows];
  info.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, data, length);
  jpeg_read_header(&info, TRUE);
  info.out_color_space = JCS_RGB;
  info.scale_num = 1;
  info.scale_denom = 1;
  while (size > 0 && info.scale_denom < 8 && info.image_width >= 2 * info.scale_denom * size &&
         info.image_height >= 2 * info.scale_denom * size) {
    info.scale_denom *= 2;
  }
  jpeg_start_decompress(&info);
  size_t stride = (size_t)info.output_width * 3;
  unsigned char* pixels = malloc(stride * kRows);
  for (int i = 0; i < kRows; ++i) rows[i] = pixels + stride * (size_t)i;
  while (info.output_scanline < info.output_height) jpeg_read_scanlines(&info, rows, kRows);
  int height = (int)info.output_height;
  jpeg_finish_decompress(&info);
  jpeg_destroy_decompress(&info);
  free(pixels);
  return height;
}
