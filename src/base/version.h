/* SPDX-License-Identifier: Apache-2.0 */
/* base/version.h - which diffx this is. Its .c file is made by make, from the tag and commit
   of the checkout or, in a tarball, from those that it was made of (build-aux/git-version.sh). */
#ifndef DX_BASE_VERSION_H
#define DX_BASE_VERSION_H

/* Literals. Local */
const char *dx_version(void); /* "0.1.0" */
const char *dx_commit(void);  /* "c2f53c87ab12", with "-dirty" where files differ from it; or "unknown" */
#endif
