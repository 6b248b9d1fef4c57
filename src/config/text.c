/* SPDX-License-Identifier: Apache-2.0 */
/* config/text.c - texts of any length, characters, and text as a YAML scalar. */
#include "config/keys.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

char *dx_text_vformat(const char *fmt, va_list ap)
{
  va_list again;
  char *text;
  int n;

  va_copy(again, ap);
  n = vsnprintf(NULL, 0, fmt, again);
  va_end(again);
  text = n < 0 ? NULL : malloc((size_t)n + 1);
  if (text) vsnprintf(text, (size_t)n + 1, fmt, ap);
  return text;
}

char *dx_text_format(const char *fmt, ...)
{
  va_list ap;
  char *text;

  va_start(ap, fmt);
  text = dx_text_vformat(fmt, ap);
  va_end(ap);
  return text;
}

int dx_utf8_next(const char *s, size_t n, uint32_t *c)
{
  static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
  const unsigned char first = (unsigned char)*s;
  const int length = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;

  if (length == 0 || (size_t)length > n) return 0;
  *c = length == 1 ? first : first & (0x7Fu >> length);
  for (int i = 1; i < length; i++) {
    if (((unsigned char)s[i] & 0xC0) != 0x80) return 0;
    *c = *c << 6 | ((unsigned char)s[i] & 0x3F);
  }
  return *c < least[length] || *c > 0x10FFFF || (*c >= 0xD800 && *c < 0xE000) ? 0 : length;
}

bool dx_yaml_printable(uint32_t c)
{
  return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c < 0x7F) || c == 0x85 ||
         (c >= 0xA0 && c != 0xFEFF && c != 0xFFFE && c != 0xFFFF);
}

/* Text that any YAML reader takes for this text without quotes. */
static bool is_plain(const char *text)
{
  static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};

  if (!isalpha((unsigned char)*text) && *text != '/' && strncmp(text, "./", 2) != 0) return false;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (!strcasecmp(text, words[i])) return false;
  for (const char *c = text; *c; c++)
    if (!isalnum((unsigned char)*c) && !strchr("_/.+-=@%~", *c)) return false;
  return true;
}

/* Breaks of lines would be folded even within quotes, so they are escaped too. */
static bool needs_escape(uint32_t c)
{
  return c < 0x20 || c == 0x85 || c == 0x2028 || c == 0x2029 || !dx_yaml_printable(c);
}

void dx_yaml_write(FILE *to, const char *text)
{
  uint32_t c;
  int n;

  if (is_plain(text)) {
    fputs(text, to);
    return;
  }
  fputc('"', to);
  for (const char *s = text; *s; s += n) {
    n = dx_utf8_next(s, strlen(s), &c);
    if (n == 0) { /* not UTF-8: a file's name may be so; the byte's number must do */
      n = 1;
      c = (unsigned char)*s;
      fprintf(to, "\\x%02X", (unsigned)c);
    } else if (c == '"' || c == '\\') fprintf(to, "\\%c", (int)c);
    else if (needs_escape(c)) fprintf(to, c < 0x100 ? "\\x%02X" : "\\u%04X", (unsigned)c);
    else fwrite(s, 1, (size_t)n, to);
  }
  fputc('"', to);
}
