dnl SPDX-License-Identifier: Apache-2.0
dnl What diffx needs from outside: each macro finds one thing or notes what is
dnl wrong with it, and DX_NEEDS_MET tells all of it at once.

dnl DX_MISSING(NAME, WHAT IS WRONG, DEBIAN, FEDORA, SPACK, WHAT HELPS) - note it and go on.
AC_DEFUN([DX_MISSING], [dx_missing="$dx_missing
  $1: $2
    brought by: $3 (Debian), $4 (Fedora), $5 (Spack)
    elsewhere:  $6"])

dnl DX_NEEDS_MET - stop here if anything was noted.
AC_DEFUN([DX_NEEDS_MET], [AS_IF([test -n "$dx_missing"],
  [AC_MSG_ERROR([diffx cannot be built with what was found here:$dx_missing

See config.log for the details.])])])

dnl DX_WITH(CFLAGS, LIBS, THEN) - run THEN with these flags, then put the old ones back.
AC_DEFUN([DX_WITH], [
  dx_save_CPPFLAGS=$CPPFLAGS dx_save_LIBS=$LIBS
  CPPFLAGS="$1 $CPPFLAGS" LIBS="$2 $LIBS"
  $3
  CPPFLAGS=$dx_save_CPPFLAGS LIBS=$dx_save_LIBS])

dnl DX_PC(MODULE) - $dx_cflags and $dx_libs of a pkg-config module; false where there is none.
AC_DEFUN([DX_PC], [{ test -n "$PKG_CONFIG" && $PKG_CONFIG --exists $1 2>/dev/null &&
  dx_cflags=`$PKG_CONFIG --cflags $1 2>/dev/null` && dx_libs=`$PKG_CONFIG --libs $1 2>/dev/null`; }])

dnl DX_PROG_CC - a C compiler, the one of Open MPI if it can be had.
AC_DEFUN([DX_PROG_CC], [
  AC_CHECK_PROGS([dx_any_cc], [gcc clang cc icx])
  AS_IF([test -z "$dx_any_cc$CC"],
    [DX_MISSING([C compiler], [there is no gcc, clang, cc or icx on the PATH],
       [gcc libc6-dev], [gcc], [gcc], [set CC])
     DX_NEEDS_MET])
  AC_PROG_CC([mpicc mpicc.openmpi gcc clang cc icx])])

dnl DX_MPI - dx_mpi: openmpi, other or none.
AC_DEFUN([DX_MPI], [
  AC_CACHE_CHECK([which MPI $CC brings], [dx_cv_mpi],
    [dx_cv_mpi=none
     AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <mpi.h>
#if MPI_VERSION < 3
#error too old
#endif
]], [[MPI_Init(0, 0); MPI_Ialltoallv(0, 0, 0, 0, 0, 0, 0, 0, 0, 0);]])],
       [dx_cv_mpi=other
        AC_PREPROC_IFELSE([AC_LANG_SOURCE([[#include <mpi.h>
#ifndef OPEN_MPI
#error another MPI
#endif
]])], [dx_cv_mpi=openmpi])])])
  dx_mpi=$dx_cv_mpi
  AS_CASE([$dx_mpi],
    [none], [DX_MISSING([Open MPI], [$CC is no MPI compiler: it cannot build a program with mpi.h (MPI 3)],
      [libopenmpi-dev openmpi-bin], [openmpi-devel; then 'module load mpi/openmpi-x86_64'], [openmpi],
      [put its mpicc on the PATH, or set CC to it])],
    [other], [AC_MSG_WARN([this MPI is not Open MPI: diffx is tested with Open MPI only (CC=$CC)])])])

dnl DX_TRY_HDF5(CFLAGS, LIBS, FROM) - take these flags if they give a parallel HDF5.
dnl dx_hdf5: none, serial, old, unlinked or the place where it was found.
AC_DEFUN([DX_TRY_HDF5], [AS_CASE([$dx_hdf5], [none|serial|old|unlinked], [DX_WITH([$1], [$2], [
  AC_PREPROC_IFELSE([AC_LANG_SOURCE([[#include <H5pubconf.h>]])],
    [dx_hdf5=serial
     AC_PREPROC_IFELSE([AC_LANG_SOURCE([[#include <H5pubconf.h>
#ifndef H5_HAVE_PARALLEL
#error serial
#endif
]])], [dx_hdf5=unlinked
     AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <hdf5.h>
#if !H5_VERSION_GE(1, 10, 0)
#error too old
#endif
]], [[H5Pset_fapl_mpio(0, MPI_COMM_NULL, MPI_INFO_NULL);]])],
       [dx_hdf5="$3" HDF5_CFLAGS="$1" HDF5_LIBS="$2"])])])])])])

dnl DX_HDF5 - parallel HDF5 and its high-level library (dimension scales): HDF5_CFLAGS, HDF5_LIBS.
AC_DEFUN([DX_HDF5], [
  AC_ARG_VAR([HDF5_CFLAGS], [compiler flags for a parallel HDF5])
  AC_ARG_VAR([HDF5_LIBS], [linker flags for a parallel HDF5])
  AC_MSG_CHECKING([for parallel HDF5])
  dx_hdf5=none
  AS_IF([test -n "$HDF5_CFLAGS$HDF5_LIBS"],
    [DX_TRY_HDF5([$HDF5_CFLAGS], [$HDF5_LIBS], [HDF5_CFLAGS, HDF5_LIBS])],
    [for dx_pc in hdf5-openmpi hdf5; do
       AS_IF([DX_PC([$dx_pc])], [DX_TRY_HDF5([$dx_cflags], [$dx_libs], [pkg-config $dx_pc])])
     done
     DX_TRY_HDF5([], [-lhdf5], [the compiler's own paths])
     AS_IF([test "x$dx_hdf5" = xnone && dx_show=`h5pcc -show 2>/dev/null`],
       [dx_cflags= dx_libs=
        for dx_word in $dx_show; do
          AS_CASE([$dx_word], [-I*|-D*], [dx_cflags="$dx_cflags $dx_word"],
            [-L*|-l*|-Wl,*|*.a|*.so], [dx_libs="$dx_libs $dx_word"])
        done
        DX_TRY_HDF5([$dx_cflags], [$dx_libs], [h5pcc])])])
  AC_MSG_RESULT([$dx_hdf5])
  AS_CASE([$dx_hdf5],
    [none],   [dx_wrong='no hdf5.h was found'],
    [serial], [dx_wrong='the one found is serial (no H5_HAVE_PARALLEL)'],
    [unlinked], [dx_wrong='a program with H5Pset_fapl_mpio does not build, or it is older than 1.10'],
    [dx_wrong=])
  dnl Without MPI nothing of a parallel HDF5 compiles; then only its absence says something.
  AS_IF([test "x$dx_mpi$dx_hdf5" = xnoneunlinked], [dx_wrong=])
  AS_IF([test -n "$dx_wrong"],
    [DX_MISSING([parallel HDF5], [$dx_wrong], [libhdf5-openmpi-dev],
      [hdf5-openmpi-devel], [hdf5 +mpi +hl],
      [set PKG_CONFIG_PATH, or HDF5_CFLAGS and HDF5_LIBS])],
    [DX_WITH([$HDF5_CFLAGS], [$HDF5_LIBS],
      [dx_LIBS=$LIBS
       AC_SEARCH_LIBS([H5DSattach_scale], [hdf5_hl hdf5_openmpi_hl],
        [AS_CASE([$ac_cv_search_H5DSattach_scale], [-l*],
          [HDF5_LIBS="$ac_cv_search_H5DSattach_scale $HDF5_LIBS"])],
        [AS_IF([test "x$dx_mpi" != xnone],
          [DX_MISSING([HDF5's high-level library], [no libhdf5_hl with H5DSattach_scale beside the HDF5 found],
            [libhdf5-openmpi-dev], [hdf5-openmpi-devel], [hdf5 +mpi +hl],
            [build HDF5 with --enable-hl, or add it to HDF5_LIBS])])])
       LIBS=$dx_LIBS])])])

dnl DX_TRY_BLIS(CFLAGS, LIBS, FROM) - take these flags if they give BLIS with the typed expert interface.
AC_DEFUN([DX_TRY_BLIS], [AS_CASE([$dx_blis], [none|unfit], [DX_WITH([$1], [$2 -lm -lpthread], [
  AC_PREPROC_IFELSE([AC_LANG_SOURCE([[#include <blis.h>]])],
    [dx_blis=unfit
     AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <blis.h>]], [[
  float x = 1.0f;
  rntm_t one;
  bli_rntm_init(&one);
  bli_rntm_set_num_threads(1, &one);
  bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, 1, 1, 1, &x, &x, 1, 1, &x, 1, 1, &x, &x, 1, 1,
               (cntx_t *)0, &one);]])],
       [dx_blis="$3" BLIS_CFLAGS="$1" BLIS_LIBS="$2"])])])])])

dnl DX_BLIS - the header blis.h and a library with bli_sgemm_ex: BLIS_CFLAGS, BLIS_LIBS.
AC_DEFUN([DX_BLIS], [
  AC_ARG_VAR([BLIS_CFLAGS], [compiler flags for BLIS])
  AC_ARG_VAR([BLIS_LIBS], [linker flags for BLIS])
  AC_MSG_CHECKING([for BLIS])
  dx_blis=none
  AS_IF([test -n "$BLIS_CFLAGS$BLIS_LIBS"],
    [DX_TRY_BLIS([$BLIS_CFLAGS], [$BLIS_LIBS], [BLIS_CFLAGS, BLIS_LIBS])],
    [DX_TRY_BLIS([], [-lblis], [the compiler's own paths])
     for dx_pc in blis blis-openmp blis-mt; do
       AS_IF([DX_PC([$dx_pc])], [DX_TRY_BLIS([$dx_cflags], [$dx_libs], [pkg-config $dx_pc])])
     done
     for dx_lib in blis bliso blisp; do
       DX_TRY_BLIS([-I/usr/include/blis], [-l$dx_lib], [/usr/include/blis, lib$dx_lib])
     done])
  AC_MSG_RESULT([$dx_blis])
  AS_CASE([$dx_blis],
    [none],  [dx_wrong='no blis.h was found that the compiler can read'],
    [unfit], [dx_wrong='a program with blis.h and bli_sgemm_ex does not build (a library without the expert interface, or none)'],
    [dx_wrong=])
  AS_IF([test -n "$dx_wrong"],
    [DX_MISSING([BLIS], [$dx_wrong], [libblis-openmp-dev], [blis-devel], [blis],
      [set PKG_CONFIG_PATH, or BLIS_CFLAGS and BLIS_LIBS])])])

dnl DX_YAML - libyaml: YAML_CFLAGS, YAML_LIBS.
AC_DEFUN([DX_YAML], [
  AC_ARG_VAR([YAML_CFLAGS], [compiler flags for libyaml])
  AC_ARG_VAR([YAML_LIBS], [linker flags for libyaml])
  AC_MSG_CHECKING([for libyaml])
  AS_IF([test -z "$YAML_CFLAGS$YAML_LIBS"],
    [AS_IF([DX_PC([yaml-0.1])], [YAML_CFLAGS=$dx_cflags YAML_LIBS=$dx_libs], [YAML_LIBS=-lyaml])])
  dx_yaml=no
  DX_WITH([$YAML_CFLAGS], [$YAML_LIBS],
    [AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <yaml.h>]],
       [[yaml_parser_t p; return yaml_parser_initialize(&p);]])], [dx_yaml=yes])])
  AC_MSG_RESULT([$dx_yaml])
  AS_IF([test $dx_yaml = no],
    [DX_MISSING([libyaml], [a program with yaml.h and yaml_parser_initialize does not build],
      [libyaml-dev], [libyaml-devel], [libyaml],
      [set PKG_CONFIG_PATH, or YAML_CFLAGS and YAML_LIBS])])])

dnl DX_MAY(NAME, MODULE, LIBRARY, HEADER, CALL, WHAT FOR) - a library that diffx can do without: DX_NAME in
dnl the program, PICTURE_CFLAGS and PICTURE_LIBS, a line in $dx_may_words. --without-LIBRARY leaves it out.
AC_DEFUN([DX_MAY], [
  AC_ARG_WITH([$3], [AS_HELP_STRING([--without-$3], [no $2: $6])], [], [with_$3=check])
  dx_may=no
  AS_IF([test "x$with_$3" != xno],
    [AC_MSG_CHECKING([for $2])
     AS_IF([DX_PC([$2])], [], [dx_cflags= dx_libs=-l$3])
     DX_WITH([$dx_cflags], [$dx_libs],
       [AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <stddef.h>
#include <stdio.h>
#include <$4>]], [[$5;]])], [dx_may=yes])])
     AC_MSG_RESULT([$dx_may])])
  AS_IF([test $dx_may = yes],
    [AC_DEFINE([DX_$1], [1], [$6])
     PICTURE_CFLAGS="$PICTURE_CFLAGS $dx_cflags" PICTURE_LIBS="$PICTURE_LIBS $dx_libs"
     dx_may_words="$dx_may_words
  $2	found: $6"],
    [AS_IF([test "x$with_$3" = xyes],
       [DX_MISSING([$2], [a program with $4 does not build], [see README.md], [see README.md], [see README.md],
          [leave out --with-$3])])
     dx_may_words="$dx_may_words
  $2	not found; lost: $6"])])

dnl DX_OPENMP - OPENMP_CFLAGS.
AC_DEFUN([DX_OPENMP], [
  AC_OPENMP
  AS_IF([test "x$ac_cv_prog_c_openmp" = xunsupported || test "x$enable_openmp" = xno],
    [DX_MISSING([OpenMP], [$CC cannot build a program with OpenMP],
      [gcc, or for clang libomp-dev], [gcc, or for clang libomp-devel], [gcc, or llvm-openmp],
      [use another compiler: OMPI_CC names the one behind mpicc])])])

dnl DX_SANITIZERS - SANITIZE_CFLAGS of --enable-sanitizers, refused where the compiler lacks them.
AC_DEFUN([DX_SANITIZERS], [
  AC_ARG_ENABLE([sanitizers], [AS_HELP_STRING([--enable-sanitizers],
    [stop at memory errors and undefined behaviour (address, undefined)])], [], [enable_sanitizers=no])
  AM_CONDITIONAL([SANITIZERS], [test "x$enable_sanitizers" != xno])
  SANITIZE_CFLAGS=
  AS_IF([test "x$enable_sanitizers" != xno],
    [SANITIZE_CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
     AC_MSG_CHECKING([whether $CC has sanitizers])
     dx_save_CFLAGS=$CFLAGS
     CFLAGS="$CFLAGS $SANITIZE_CFLAGS"
     AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])], [AC_MSG_RESULT([yes])],
       [AC_MSG_RESULT([no])
        DX_MISSING([sanitizers], [$CC cannot link a program with address and undefined],
          [gcc], [libasan libubsan], [gcc], [leave out --enable-sanitizers])])
     CFLAGS=$dx_save_CFLAGS])
  AC_SUBST([SANITIZE_CFLAGS])])
