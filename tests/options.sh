#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# doc/options.md is what the program says of its options, and every key in it has its help.
. "${srcdir:-.}/tests/lib.sh"

"$diffx" help options >options.md && diff "$top/doc/options.md" options.md >differ
bad=$?
ok $bad "doc/options.md is what diffx help options prints"
test $bad = 0 || { echo "# after a change: ./diffx help options >doc/options.md"; show differ; }

sed -n 's/^| `\([a-z_0-9.]*\)` |.*/\1/p' options.md | sort -u >keys
test "$(wc -l <keys)" -gt 50
ok $? "more than fifty keys"
bad=0
while read -r key; do
  "$diffx" help "$key" >said 2>&1 && grep -qx -e "$key" said && grep -q '^  allowed  ' said && grep -q '^  preset   ' said &&
    grep -q '^  role     ' said || { bad=1; echo "# $key"; }
done <keys
ok $bad "diffx help KEY for each of them"
bad=0
for section in $(sed 's/\..*//' keys | sort -u); do
  "$diffx" help "$section" >said 2>&1 || { bad=1; echo "# $section"; }
  for key in $(grep "^$section\." keys); do grep -qx -e "$key" said || { bad=1; echo "# $key"; }; done
done
ok $bad "diffx help SECTION shows all of its keys"
"$diffx" help model.mlp >said 2>&1 && grep -qx model.hidden said && ! grep -qx model.channels said && "$diffx" help model.unet >said 2>&1 &&
  grep -qx model.channels said
ok $? "diffx help SECTION.CHOICE shows those of a choice"

# Names that the tables of options allow are those of the lists.
"$diffx" list >list
bad=0
for key in $(sed -n 's/^[a-z].*(\([a-z_]*\.[a-z_]*\))$/\1/p' list); do
  test "$key" = run.kernels && continue
  sed -n "/($key)\$/,/^[a-z]/s/^  \([a-z0-9_-]*\) .*/\1/p" list | sort >listed
  "$diffx" help "$key" | sed -n 's/^  allowed  //p' | sed 's/, or / /; s/ or / /; s/,//g' | tr ' ' '\n' | sort >allowed
  cmp -s listed allowed || { bad=1; echo "# $key"; show allowed; }
  echo "$key" >>compared
done
ok $bad "diffx list and diffx help have the same names"
test "$(wc -l <compared)" = 8
ok $? "of eight lists"

# images of the sizes of the data files that experiments name, in their place
"$diffx" data make shapes 32.h5 size=32 train=2000 test=600 >said 2>&1 && "$diffx" data make shapes 28.h5 size=28 train=2000 test=600 >said 2>&1
ok $? "stand-ins for data files"
stand_in() {       # the words that put one in its place
  grep -q 'file: data/cifar10.h5' "$1" && echo data.file=32.h5
  grep -q 'file: data/fashion-mnist.h5' "$1" && echo data.file=28.h5
}

# a line of the table and the program agree: the preset is taken back
bad=0
for file in "$exp"/*.yaml; do
  "$diffx" "$file" --dry-run output=none $(stand_in "$file") >said 2>&1 || { bad=1; show said; }
  sed '/^$/q' said >resolved.yaml
  "$diffx" resolved.yaml --dry-run >again 2>&1 && sed '/^$/q' again | cmp -s - resolved.yaml || { bad=1; echo "# $file"; show again; }
done
ok $bad "the resolved text of each experiment is that experiment again"
done_testing
