/* SPDX-License-Identifier: Apache-2.0 */
/* config/docs.c - what people read about options, from the tables that parse them. */
#include "config/config.h"

#include <string.h>

/* In the order of dx_option_role. */
static const struct { const char *word, *sentence; } roles[] = {
  [DX_FIXED] = {"fixed", "Part of the answer: a resumed run must have the same value."},
  [DX_FREE] = {"free", "Part of the answer, but a resumed run may change it."},
  [DX_RUN] = {"run", "Where and how it runs, never what comes out (but for the rounding of another run.kernels)."},
};

static const char *preset_text(const dx_option *o)
{
  return !o->preset ? "must be given" : *o->preset ? o->preset : "\"\"";
}

void dx_option_help(const dx_section *section, const dx_option *o, FILE *to)
{
  char allowed[1024];

  dx_option_allowed(o, allowed, sizeof allowed);
  fprintf(to, "%s%s%s\n", section->prefix, *section->prefix ? "." : "", o->key);
  fprintf(to, "  %s\n\n", o->help);
  fprintf(to, "  allowed  %s\n", allowed);
  fprintf(to, "  preset   %s\n", o->preset ? preset_text(o) : "none; it must be given");
  if (section->only_with) fprintf(to, "  only     with %s\n", section->only_with);
  fprintf(to, "  role     %s. %s\n", roles[o->role].word, roles[o->role].sentence);
}

/* A bar would end the cell of the table. */
static void put_cell(FILE *to, const char *text)
{
  for (; *text; text++) {
    if (*text == '|') fputc('\\', to);
    fputc(*text, to);
  }
}

void dx_section_markdown(const dx_section *section, FILE *to)
{
  char allowed[1024];

  fprintf(to, "## %s", *section->prefix ? section->prefix : "At the top");
  if (section->only_with) fprintf(to, ", only with `%s`", section->only_with);
  fprintf(to, "\n\n| key | preset | allowed | role | meaning |\n|---|---|---|---|---|\n");
  for (const dx_option *o = section->options; o->key; o++) {
    dx_option_allowed(o, allowed, sizeof allowed);
    fprintf(to, "| `%s%s%s` | ", section->prefix, *section->prefix ? "." : "", o->key);
    if (o->preset) fprintf(to, "`%s` | ", preset_text(o));
    else fprintf(to, "%s | ", preset_text(o));
    put_cell(to, allowed);
    fprintf(to, " | %s | ", roles[o->role].word);
    put_cell(to, o->help);
    fprintf(to, " |\n");
  }
  fprintf(to, "\n");
}
