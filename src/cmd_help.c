/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_help.c - diffx help, from the tables of commands and options alone. */
#include <stdio.h>
#include <string.h>

#include "commands.h"

static void print_commands(void)
{
  puts("diffx trains and studies diffusion models on CPU clusters.\n");
  for (const dx_command *c = dx_commands; c->name; c++) printf("  %s\n      %s\n", c->usage, c->help);
  puts("\n  diffx --version\n\ndiffx help COMMAND (or COMMAND --help), diffx help train.rate, diffx help train (a section's options), diffx help\nmodel.unet (those of a choice).");
  puts("Exit status: 0 done");
#define X(name, status, text) printf("%13d %s\n", status, text);
  DX_CODES(X)
#undef X
}

/* doc/options.md, whole. */
static void print_options(const dx_section *sections, int n)
{
  puts("# Options\n\nMade by `diffx help options` from the tables that parse them. Every key can stand in the experiment\n"
       "file or on the command line (`train.steps=200`). Role: *fixed* is part of the answer, *free* too but a resumed\n"
       "run may change it, *run* says where and how it runs.\n");
  for (int i = 0; i < n; i++) dx_section_markdown(&sections[i], stdout);
}

static bool print_command(const char *name)
{
  for (const dx_command *c = dx_commands; c->name; c++)
    if (!strcmp(c->name, name)) {
      printf("%s\n    %s\n", c->usage, c->help);
      return true;
    }
  return false;
}

/* Is the section that of one choice, model.unet say? */
static bool is_choice(const dx_section *s, const char *name)
{
  const size_t n = strlen(s->prefix);
  const char *const kind = s->only_with ? strrchr(s->only_with, ' ') : NULL;

  return kind && !strncmp(name, s->prefix, n) && name[n] == '.' && !strcmp(name + n + 1, kind + 1);
}

/* A key, or all keys of a section or a choice; found: something stands before it. */
static bool print_keys(const dx_section *sections, int n, const char *name, bool found)
{
  for (int i = 0; i < n; i++)
    for (const dx_option *o = sections[i].options; o->key; o++) {
      char key[128];

      snprintf(key, sizeof key, "%s%s%s", sections[i].prefix, *sections[i].prefix ? "." : "", o->key);
      if (strcmp(key, name) && strcmp(sections[i].prefix, name) && !is_choice(&sections[i], name)) continue;
      if (found) puts("");
      dx_option_help(&sections[i], o, stdout);
      found = true;
    }
  return found;
}

/* The command or key that was probably meant; empty where none is near. */
static void find_nearest(const dx_section *sections, int n, const char *name, char key[128])
{
  const char *const command = dx_nearest_command(name);
  char each[128];
  int best = -1;

  key[0] = '\0';
  for (int i = 0; i < n; i++)
    for (const dx_option *o = sections[i].options; o->key; o++) {
      snprintf(each, sizeof each, "%s%s%s", sections[i].prefix, *sections[i].prefix ? "." : "", o->key);
      const int whole = dx_text_near(name, each), leaf = dx_text_near(name, o->key);
      const int d = whole >= 0 && (leaf < 0 || whole < leaf) ? whole : leaf;

      if (d < 0 || (best >= 0 && d >= best)) continue;
      best = d;
      memcpy(key, each, sizeof each);
    }
  if (command && (best < 0 || dx_text_near(name, command) <= best)) snprintf(key, 128, "%s", command);
}

dx_error *dx_cmd_help(const dx_call *call)
{
  dx_section sections[DX_SECTIONS];
  const int n = dx_all_sections(sections);
  char key[128];
  bool found;

  if (call->argc == 0) {
    print_commands();
    return NULL;
  }
  if (!strcmp(call->argv[0], "options")) {
    print_options(sections, n);
    return NULL;
  }
  found = print_command(call->argv[0]);
  found = print_keys(sections, n, call->argv[0], found);
  if (found) return NULL;
  find_nearest(sections, n, call->argv[0], key);
  return DX_FAIL(USAGE, "no command, key or section is called %s%s%s%s", call->argv[0], *key ? "; did you mean " : "",
                 key, *key ? "?" : "");
}
