#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every file of the checkout is in the tarball, which knows its version and commit.
source=$(cd "${srcdir:-.}" && pwd)
if ! files=$(git -C "$source" ls-files 2>/dev/null) || test -z "$files"; then
  echo '1..0 # SKIP not a checkout'
  exit 0
fi
make -s distdir distdir=tarball-test > /dev/null 2>&1 || { echo 'Bail out! make distdir failed'; exit 1; }
trap 'chmod -R u+w tarball-test; rm -rf tarball-test' EXIT
lost=$(echo "$files" | while read -r f; do
  case $f in .gitignore | .ci/*) continue ;; esac
  test -e "tarball-test/$f" || echo "$f"
done)
if test -z "$lost"; then echo 'ok 1 - every file is in the tarball'
else echo 'not ok 1 - every file is in the tarball'; echo "$lost" | sed 's/^/# /'; fi
commit=$(git -C "$source" rev-parse --short=12 HEAD)
case $(sh tarball-test/build-aux/git-version.sh commit) in
  "$commit" | "$commit-dirty") echo 'ok 2 - the tarball knows its commit' ;;
  *) echo 'not ok 2 - the tarball knows its commit' ;;
esac
echo 1..2
