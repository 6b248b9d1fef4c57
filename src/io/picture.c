/* SPDX-License-Identifier: Apache-2.0 */
/* io/picture.c - see picture.h. libpng and libjpeg report errors by longjmp, so what must be given
   back afterwards lives in a struct of the caller, not in the function that is jumped out of. */
#include "io/picture.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef DX_PNG
#include <png.h>
#endif
#ifdef DX_JPEG
#include <jpeglib.h>
#endif

#include "io/file.h"

void dx_picture_free(dx_picture *p)
{
  free(p->pixels);
  *p = (dx_picture){0};
}

static const unsigned char png_magic[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
static const unsigned char jpeg_magic[3] = {0xff, 0xd8, 0xff};

#if defined DX_PNG || defined DX_JPEG
enum { LARGEST = 1 << 16 }; /* pixels of a side */

/* A file that is being read or written, and where an error jumps to. */
typedef struct {
  const unsigned char *bytes;
  unsigned char *written;
  size_t size, at, room;
  dx_picture picture;
  void **rows;
  char words[256];
  jmp_buf failed;
} work;

static bool make_pixels(work *w, int64_t height, int64_t width)
{
  if (height < 1 || width < 1 || height > LARGEST || width > LARGEST) {
    snprintf(w->words, sizeof w->words, "it says that it is %lld x %lld", (long long)height, (long long)width);
    return false;
  }
  w->picture = (dx_picture){.h = height, .w = width, .c = 3, .pixels = malloc((size_t)(height * width * 3))};
  w->rows = malloc((size_t)height * sizeof *w->rows);
  if (!w->picture.pixels || !w->rows) {
    snprintf(w->words, sizeof w->words, "no memory for %lld x %lld", (long long)height, (long long)width);
    return false;
  }
  for (int64_t i = 0; i < height; i++) w->rows[i] = w->picture.pixels + i * width * 3;
  return true;
}

/* The picture, or an error; the rest is given back. */
static dx_error *end_reading(work *w, const char *path, const char *kind, bool good, dx_picture *out)
{
  free(w->rows);
  if (good) {
    *out = w->picture;
    return NULL;
  }
  dx_picture_free(&w->picture);
  return DX_FAIL(DATA, "%s is damaged at byte %zu of %zu (%s: %s)", path, w->at, w->size, kind, w->words);
}
#endif

#ifdef DX_PNG
static void png_fails(png_structp png, png_const_charp words)
{
  work *const w = png_get_error_ptr(png);

  snprintf(w->words, sizeof w->words, "%s", words);
  longjmp(w->failed, 1);
}

static void png_is_calm(png_structp png, png_const_charp words)
{
  (void)png;
  (void)words;
}

static void png_takes(png_structp png, png_bytep to, png_size_t n)
{
  work *const w = png_get_io_ptr(png);

  if (n > w->size - w->at) {
    w->at = w->size;
    png_error(png, "it ends in the middle");
  }
  memcpy(to, w->bytes + w->at, n);
  w->at += n;
}

/* Everything that may jump. */
static bool read_png(work *w, png_structp png, png_infop info)
{
  png_color_16 white = {.red = 255, .green = 255, .blue = 255, .gray = 255};

  if (setjmp(w->failed)) return false;
  png_set_read_fn(png, w, png_takes);
  png_read_info(png, info);
  if (!make_pixels(w, png_get_image_height(png, info), png_get_image_width(png, info))) return false;
  png_set_expand(png);
  png_set_scale_16(png);
  png_set_gray_to_rgb(png);
  if (png_get_color_type(png, info) & PNG_COLOR_MASK_ALPHA || png_get_valid(png, info, PNG_INFO_tRNS))
    png_set_background(png, &white, PNG_BACKGROUND_GAMMA_SCREEN, 0, 1.0);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  if (png_get_rowbytes(png, info) != (size_t)w->picture.w * 3) png_error(png, "an unknown kind of pixels");
  png_read_image(png, (png_bytepp)w->rows);
  png_read_end(png, NULL);
  return true;
}

static dx_error *decode_png(const char *path, work *w, dx_picture *out)
{
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, w, png_fails, png_is_calm);
  png_infop info = png ? png_create_info_struct(png) : NULL;
  bool good;

  if (!info) {
    png_destroy_read_struct(&png, NULL, NULL);
    return DX_FAIL(INTERNAL, "no memory to read %s", path);
  }
  good = read_png(w, png, info);
  png_destroy_read_struct(&png, &info, NULL);
  return end_reading(w, path, "PNG", good, out);
}

static void png_gives(png_structp png, png_bytep from, png_size_t n)
{
  work *const w = png_get_io_ptr(png);

  if (n > w->room - w->at) {
    const size_t room = 2 * (w->room + n);
    unsigned char *const longer = realloc(w->written, room);

    if (!longer) png_error(png, "no memory");
    w->written = longer;
    w->room = room;
  }
  memcpy(w->written + w->at, from, n);
  w->at += n;
}

static void png_flushes(png_structp png) { (void)png; }

static bool write_png(work *w, png_structp png, png_infop info, const dx_picture *p)
{
  if (setjmp(w->failed)) return false;
  png_set_write_fn(png, w, png_gives, png_flushes);
  png_set_IHDR(png, info, (png_uint_32)p->w, (png_uint_32)p->h, 8, p->c == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB,
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  for (int64_t i = 0; i < p->h; i++) png_write_row(png, p->pixels + i * p->w * p->c);
  png_write_end(png, info);
  return true;
}

dx_error *dx_picture_encode(const dx_picture *p, const char *path, void **bytes, size_t *size)
{
  work w = {0};
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &w, png_fails, png_is_calm);
  png_infop info = png ? png_create_info_struct(png) : NULL;
  dx_error *err = NULL;

  if (!info) err = DX_FAIL(INTERNAL, "no memory to write %s", path);
  else if (!write_png(&w, png, info, p)) err = DX_FAIL(INTERNAL, "cannot make the picture %s: %s", path, w.words);
  png_destroy_write_struct(&png, &info);
  if (err) free(w.written);
  *bytes = err ? NULL : w.written;
  *size = w.at;
  return err;
}

bool dx_picture_can_save(void) { return true; }
#else
dx_error *dx_picture_encode(const dx_picture *p, const char *path, void **bytes, size_t *size)
{
  (void)p;
  (void)bytes;
  (void)size;
  return DX_FAIL(IO, "cannot write %s: this diffx was built without libpng", path);
}

bool dx_picture_can_save(void) { return false; }
#endif

dx_error *dx_picture_save(const dx_picture *p, const char *path)
{
  void *bytes;
  size_t size;
  dx_error *err;

  DX_TRY(dx_picture_encode(p, path, &bytes, &size));
  err = dx_file_write_atomic(path, bytes, size);
  free(bytes);
  return err;
}

#ifdef DX_JPEG
typedef struct {
  struct jpeg_error_mgr base; /* first: libjpeg knows this alone */
  work *w;
} jpeg_errors;

static void jpeg_fails(j_common_ptr c)
{
  work *const w = ((jpeg_errors *)(void *)c->err)->w;
  char words[JMSG_LENGTH_MAX];

  c->err->format_message(c, words);
  snprintf(w->words, sizeof w->words, "%s", words);
  longjmp(w->failed, 1);
}

/* libjpeg only warns of damage and makes pixels up. */
static void jpeg_warns(j_common_ptr c, int level)
{
  if (level < 0) jpeg_fails(c);
}

static bool read_jpeg(work *w, struct jpeg_decompress_struct *j)
{
  if (setjmp(w->failed)) return false;
  jpeg_create_decompress(j);
  jpeg_mem_src(j, (unsigned char *)(uintptr_t)w->bytes, (unsigned long)w->size);
  jpeg_read_header(j, TRUE);
  j->out_color_space = JCS_RGB;
  j->dct_method = JDCT_ISLOW;
  jpeg_start_decompress(j);
  if (!make_pixels(w, j->output_height, j->output_width)) return false;
  while (j->output_scanline < j->output_height) {
    JSAMPROW row = w->rows[j->output_scanline];

    jpeg_read_scanlines(j, &row, 1);
  }
  jpeg_finish_decompress(j);
  return true;
}

static dx_error *decode_jpeg(const char *path, work *w, dx_picture *out)
{
  struct jpeg_decompress_struct j = {0};
  jpeg_errors errors = {.w = w};
  bool good;

  j.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = jpeg_fails;
  errors.base.emit_message = jpeg_warns;
  good = read_jpeg(w, &j);
  w->at = j.src && j.src->bytes_in_buffer <= w->size ? w->size - j.src->bytes_in_buffer : w->size;
  jpeg_destroy_decompress(&j);
  return end_reading(w, path, "JPEG", good, out);
}
#endif

dx_error *dx_picture_decode(const char *path, const void *bytes, size_t size, dx_picture *out)
{
  const bool png = size >= sizeof png_magic && !memcmp(bytes, png_magic, sizeof png_magic);
  const bool jpeg = size >= sizeof jpeg_magic && !memcmp(bytes, jpeg_magic, sizeof jpeg_magic);

  *out = (dx_picture){0};
  if (!png && !jpeg) return DX_FAIL(DATA, "%s is damaged at byte 0 of %zu: it is neither PNG nor JPEG", path, size);
#ifdef DX_PNG
  if (png) return decode_png(path, &(work){.bytes = bytes, .size = size}, out);
#endif
#ifdef DX_JPEG
  if (jpeg) return decode_jpeg(path, &(work){.bytes = bytes, .size = size}, out);
#endif
  return DX_FAIL(IO, "cannot read %s: this diffx was built without %s", path, png ? "libpng" : "libjpeg");
}
