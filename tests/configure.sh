#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What configure refuses, and in which words: each library hidden in turn, then all at once.
# Slow (a dozen runs of configure): part of make check-long.
source=$(cd "${srcdir:-.}" && pwd)
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
# configure refuses to work beside a configured tree, so it sees links to this one.
mkdir "$work/source" "$work/build"
for f in configure Makefile.in build-aux src; do ln -s "$source/$f" "$work/source/$f" || exit 99; done
mpicc=${CC:-mpicc}
n=0
run=0

# configure [VARIABLE=VALUE | OPTION]... - its words in $work/out, its status in $status.
configure() {
  run=$((run + 1))
  mkdir "$work/build/$run"
  (cd "$work/build/$run" && ../../source/configure "$@" > ../../out 2>&1 < /dev/null)
  status=$?
}
say() {                          # say HOLDS NAME
  n=$((n + 1))
  if test "$1" = yes; then echo "ok $n - $2"
  else echo "not ok $n - $2"; tail -n 40 "$work/out" | sed 's/^/# /'; fi
}
refused() {                      # refused NAME PATTERN... - not configured, and all the patterns told
  name=$1 holds=yes
  shift
  test "$status" -ne 0 && test ! -f "$work/build/$run/Makefile" || holds=no
  for pattern in "$@"; do
    sed -n '/^configure: error/,$p' "$work/out" | grep -q "$pattern" || { holds=no; echo "# not told: $pattern"; }
  done
  say "$holds" "$name"
}
hide_header() {                  # hide_header DIR HEADER... - the compiler meets an #error in its place
  dir=$work/$1
  shift
  mkdir -p "$dir"
  for h in "$@"; do echo '#error hidden' > "$dir/$h"; done
}
hide_library() {                 # hide_library DIR NAME... - the linker meets a file that is no library
  dir=$work/$1
  shift
  mkdir -p "$dir"
  for l in "$@"; do echo 'this is no library' > "$dir/lib$l.so"; done
}

configure CC="$mpicc"
holds=no
test "$status" -eq 0 && test -f "$work/build/$run/Makefile" && holds=yes
say "$holds" 'nothing hidden: configured'

# Libraries that diffx can do without
configure CC="$mpicc" --without-z --without-lzma --without-zstd --without-png --without-jpeg
holds=no
test "$status" -eq 0 && test "$(grep -c 'not found; lost: ' "$work/out")" = 5 && holds=yes
say "$holds" 'none of the libraries for images: configured, and said'

# A compiler and the MPI
mkdir "$work/bare"
for d in /usr/bin /bin; do
  for f in "$d"/*; do
    case ${f##*/} in
      *gcc* | *cc | *clang* | *icx* | c89* | c99* | *mpicc*) ;;
      *) test -e "$work/bare/${f##*/}" || ln -s "$f" "$work/bare/${f##*/}" ;;
    esac
  done
done
PATH="$work/bare" configure CC=
refused 'no C compiler' 'C compiler' 'libc6-dev'

plain=$(for c in gcc clang cc; do command -v "$c" > /dev/null && echo "$c" && break; done)
if echo '#include <mpi.h>' | "$plain" -E - > /dev/null 2>&1; then
  n=$((n + 1)); echo "ok $n - no MPI # SKIP $plain finds mpi.h by itself"
else
  configure CC="$plain"
  refused 'a compiler without MPI' 'Open MPI' libopenmpi-dev openmpi-devel 'openmpi (Spack)' "$plain is no MPI compiler"
fi
mkdir "$work/other"
printf '#include_next <mpi.h>\n#undef OPEN_MPI\n' > "$work/other/mpi.h"
configure CC="$mpicc -I$work/other"
holds=no
test "$status" -eq 0 && grep -q 'WARNING.*not Open MPI' "$work/out" && holds=yes
say "$holds" 'another MPI: a warning'

# HDF5
hide_header no-hdf5 hdf5.h H5pubconf.h
configure CC="$mpicc -I$work/no-hdf5"
refused 'no HDF5' 'parallel HDF5: no hdf5.h was found' libhdf5-openmpi-dev hdf5-openmpi-devel 'hdf5 +mpi +hl'
mkdir "$work/serial"
echo '#define H5_VERSION "1.10.8"' > "$work/serial/H5pubconf.h"
configure CC="$mpicc -I$work/serial"
refused 'a serial HDF5' 'parallel HDF5: the one found is serial' libhdf5-openmpi-dev hdf5-openmpi-devel
hide_library no-hdf5-lib hdf5
configure CC="$mpicc -L$work/no-hdf5-lib"
refused 'an HDF5 that cannot be linked' 'parallel HDF5: a program with H5Pset_fapl_mpio does not build' libhdf5-openmpi-dev
hide_library no-hl hdf5_hl hdf5_openmpi_hl
configure CC="$mpicc -L$work/no-hl"
refused 'no high-level library of HDF5' "HDF5's high-level library" H5DSattach_scale libhdf5-openmpi-dev

# BLIS
hide_header no-blis blis.h
configure CC="$mpicc -I$work/no-blis"
refused 'no BLIS' 'BLIS: no blis.h was found' libblis-openmp-dev blis-devel 'blis (Spack)'
hide_library no-blis-lib blis bliso blisp
configure CC="$mpicc -L$work/no-blis-lib"
refused 'a BLIS without bli_sgemm_ex' 'BLIS: .*bli_sgemm_ex' libblis-openmp-dev

# libyaml, OpenMP, sanitizers
hide_header no-yaml yaml.h
configure CC="$mpicc -I$work/no-yaml"
refused 'no libyaml' 'libyaml: ' libyaml-dev libyaml-devel 'libyaml (Spack)'
configure CC="$mpicc" --disable-openmp
refused 'no OpenMP' 'OpenMP: ' libomp-dev libomp-devel llvm-openmp
cat > "$work/mpicc" <<END
#!/bin/sh
case " \$* " in *" -fsanitize"*) exit 1 ;; esac
exec $mpicc "\$@"
END
chmod +x "$work/mpicc"
configure CC="$work/mpicc" --enable-sanitizers
refused 'no sanitizers' 'sanitizers: ' 'libasan libubsan'

# All at once, in one message
configure CC="$plain -I$work/serial -I$work/no-blis -I$work/no-yaml" --disable-openmp
refused 'everything missing is told at once' 'parallel HDF5: ' 'BLIS: ' 'libyaml: ' 'OpenMP: '
echo "1..$n"
