/* SPDX-License-Identifier: Apache-2.0 */
/* experiment.h - where the options of all folders become one experiment. All Local. */
#ifndef DX_EXPERIMENT_H
#define DX_EXPERIMENT_H
#include "config/config.h"
#include "data/import.h"
#include "train/spec.h"

typedef struct dx_experiment dx_experiment;

/* Read an experiment's text (file stands in messages), set the assignments "key=value", fill in
   presets, check. Every mistake is in the error. DX_DATA_UNREAD: nobody will open the data, so data.file may be missing. */
typedef enum { DX_DATA_READ, DX_DATA_UNREAD } dx_data_use;
dx_error *dx_experiment_create(const char *file, const char *text, size_t size, char *const *assignments,
                               int count, dx_data_use data, dx_experiment **out) DX_MUST_CHECK;
void dx_experiment_destroy(dx_experiment *e); /* NULL is fine */
const dx_spec *dx_experiment_spec(const dx_experiment *e);

/* Every table of options there is, of all kinds of everything, in the order of the docs; the
   `only_with` of each tells when it is read. Returns how many; room for DX_SECTIONS. */
enum { DX_SECTIONS = 64 };
int dx_all_sections(dx_section sections[DX_SECTIONS]);

/* A source of data by itself, for `data make`: KIND and assignments "noise=0.1" of its own keys;
   *config is malloc'd. */
dx_error *dx_source_configure(const char *kind, char *const *assignments, int count, const dx_source **source,
                              void **config) DX_MUST_CHECK;
/* The same of a format, for `data import`. */
dx_error *dx_importer_configure(const char *name, char *const *assignments, int count, const dx_importer **importer,
                                void **config) DX_MUST_CHECK;
#endif
