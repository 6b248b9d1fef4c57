#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Print the version, or with "commit" the commit: of the tarball if this is one, else of the checkout.
cd "$(dirname "$0")/.." || exit 1
export GIT_OPTIONAL_LOCKS=0
version=0.0.0-unknown commit=unknown
if test -f .tarball-version; then read -r version commit < .tarball-version
elif test -e .git && commit=$(git rev-parse --short=12 HEAD 2>/dev/null); then
  version=$(git describe --tags 2>/dev/null || echo "0.0.0-g$commit")
  if test -n "$(git status --porcelain -uno 2>/dev/null)"; then
    version=$version-dirty commit=$commit-dirty
  fi
fi
case $1 in
  commit) echo "$commit" ;;
  *) echo "${version#v}" ;;
esac
