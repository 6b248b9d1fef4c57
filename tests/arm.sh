#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# On another kind of processor: base and the portable kernels, compiled for 64-bit ARM and emulated, give the numbers,
# and where the tests have them written down the bits, that they give here.
. "${srcdir:-.}/tests/lib.sh"
cc=aarch64-linux-gnu-gcc
command -v $cc >/dev/null || skip "no compiler for ARM is here (Debian: gcc-aarch64-linux-gnu)"
command -v qemu-aarch64 >/dev/null || skip "no emulator for ARM is here (Debian: qemu-user)"

for t in math random kernels; do
  $cc -std=gnu11 -O2 -ffp-contract=off -fno-math-errno -fopenmp-simd -I"$top/src" "$top/tests/$t.c" "$top"/src/base/*.c \
    "$top/src/kernel/kernel.c" "$top/src/kernel/ref.c" -static -o $t -lm >said 2>&1
  judge $? "$t.c is compiled for ARM"
  qemu-aarch64 ./$t >said 2>&1 && ! grep -q '^not ok' said && test "$(grep -c '^ok' said)" -gt 30
  judge $? "$t.c passes there: $(grep -c '^ok' said) tests"
done
done_testing
