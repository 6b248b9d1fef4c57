#!/bin/sh
# Every function, file and key that doc/math.md names is there.
cd "${srcdir:-.}" || exit 99
n=0
bad=0
for word in $(grep -o '`[A-Za-z_0-9/.]*`' doc/math.md | tr -d '`' | sort -u); do
  n=$((n + 1))
  case $word in
    */*.*) test -f "src/$word" || test -f "$word" ;;
    *.*) grep -rqw "${word#*.}" src ;;
    *) grep -rqw "$word" src ;;
  esac || { bad=$((bad + 1)); echo "# doc/math.md names $word, which is nowhere"; }
done
test "$n" -gt 40 && test "$bad" -eq 0 && echo "ok 1 - $n names" || echo "not ok 1 - $bad of $n names"
echo 1..1
