#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A run that is killed, stopped or damaged goes on to the same bits, on any number of ranks.
. "${srcdir:-.}/tests/lib.sh"
set_up="train.steps=2000 train.checkpoint_every=100 evaluate.every=700 sample.every=900 run.keep=4 train.decay=none"
last=checkpoints/step-00002000.h5

finish() {        # finish RUN RANKS: until the end, at most a few sessions
  for i in 1 2 3; do
    ranks "$2" "$exp/smoke.yaml" output="$1" $set_up run.threads=1 >>"$1.log" 2>&1
    status=$?
    test $status = 0 && break
  done
  "$diffx" compare ref "$1" >"$1.cmp" 2>&1 && cmp "ref/$last" "$1/$last" >>"$1.cmp" 2>&1 && test $status = 0
}
judge() {         # judge RUN NAME
  bad=$?
  ok $bad "$2"
  test $bad = 0 || show "$1.log" "$1.cmp"
}
wait_for() {      # wait_for FILE: a run has come so far: this checkpoint stands, or a later one (old ones go)
  i=0
  newest=
  while ! expr "X$newest" \>= "X$1" >/dev/null && test $i -lt 1200; do
    sleep 0.02
    for newest in "${1%/*}"/step-*.h5; do :; done
    i=$((i + 1))
  done
}

ranks 1 "$exp/smoke.yaml" output=ref $set_up run.threads=1 >ref.log 2>&1
ok $? "the run that nothing disturbs"

# kill -9 of everything, at a moment that is not ours to choose; then another number of ranks
at=2
for r in 1 3 2; do
  ranks $at "$exp/smoke.yaml" output=kill-$r $set_up run.threads=1 >kill-$r.log 2>&1 &
  job=$!
  wait_for kill-$r/checkpoints/step-00000$((100 * r + 100)).h5
  sleep "0.0$(($(date +%N | sed 's/^0*//') % 9))"
  pkill -9 -f "^$diffx.*output=kill-$r "; wait $job 2>/dev/null
  ! test -e kill-$r/$last
  ok $? "killed -9 before its end, on $at ranks"
  if "${PYTHON:-python3}" -c 'import h5py' 2>/dev/null; then
    "${PYTHON:-python3}" -c "import h5py; f = h5py.File('kill-$r/metrics.h5'); print('# rows', len(f['train/step']))"
    ok $? "the record opens in h5py after kill -9 of $at ranks"
  fi
  finish kill-$r $r
  judge kill-$r "kill -9 on $at ranks, resumed on $r: the same bits"
  at=$r
done

# one rank alone is killed
ranks 3 "$exp/smoke.yaml" output=one $set_up run.threads=1 >one.log 2>&1 &
job=$!
wait_for one/checkpoints/step-00000200.h5
kill -9 "$(pgrep -f -n "^$diffx.*output=one ")"
wait $job
test $? != 0
ok $? "a killed rank ends the job"
finish one 2
judge one "and the run goes on to the same bits"
if "${PYTHON:-python3}" -c 'import h5py' 2>/dev/null; then
  "${PYTHON:-python3}" - <<'EOF' >said 2>&1
import h5py
p = h5py.File("one/metrics.h5")["provenance"]
start, end = p["session_start"].asstr()[:], p["session_end"].asstr()[:]
assert len(start) == len(end) == 2 and list(p["session_ranks"]) == [3, 2], (start, end)
assert start[0] <= end[0] <= start[1] <= end[1] == p.attrs["written"], (start, end)
EOF
  bad=$?
  ok $bad "the record tells when each session began and ended"
  test $bad = 0 || show said
fi

# a record without its checkpoints is not begun anew over
rm -f one/checkpoints/*
cksum one/metrics.h5 >before
ranks 2 "$exp/smoke.yaml" output=one $set_up run.threads=1 >said 2>&1
test $? = 5 && grep -q "one holds the record of a run that had a checkpoint at step .*, but no checkpoint to go on from" said &&
  cksum one/metrics.h5 | cmp -s - before
ok $? "a run whose checkpoints are gone is refused, and its record stays"
"$diffx" "$exp/smoke.yaml" output=one $set_up seed=99 --dry-run >said 2>&1
test $? = 3 && grep -q "another experiment: seed (7 there, 99 here)" said
ok $? "and --dry-run knows whose record it is"

# polite stops: exit status 75, a checkpoint at the step
ranks 2 "$exp/smoke.yaml" output=usr1 $set_up run.threads=1 >usr1.log 2>&1 &
job=$!
wait_for usr1/checkpoints/step-00000200.h5
pkill -USR1 -f "^$diffx.*output=usr1 "
wait $job
test $? = 75 && grep -q "stopped at step [0-9]* of [0-9]* by a signal; the same command goes on" usr1/log.txt
ok $? "SIGUSR1 stops with status 75"
finish usr1 3
judge usr1 "and the run goes on to the same bits"

ranks 2 "$exp/smoke.yaml" output=file $set_up run.threads=1 >file.log 2>&1 &
job=$!
wait_for file/checkpoints/step-00000100.h5
touch file/stop
wait $job
test $? = 75 && grep -q "by the file stop; " file/log.txt
ok $? "a stop file stops with status 75"
finish file 1
judge file "and the run goes on to the same bits"

ranks 2 "$exp/smoke.yaml" output=time $set_up run.threads=1 run.time_limit=0.2 >time.log 2>&1
test $? = 75 && grep -q "by run.time_limit; " time/log.txt
ok $? "run.time_limit stops with status 75"
due="train.steps=1 evaluate.examples=2 evaluate.every=1 sample.every=end sample.count=2 output=due"
ranks 1 "$exp/smoke.yaml" $due run.time_limit=1e-6 >due.log 2>&1
"$diffx" "$exp/smoke.yaml" $due --dry-run >>due.log 2>&1 && grep -q "^evaluations       1 of" due.log && grep -q "^samples           1 drawings" due.log &&
  ranks 1 "$exp/smoke.yaml" $due >>due.log 2>&1 && "$diffx" "$exp/smoke.yaml" $due --dry-run >>due.log 2>&1 &&
  grep -q "^evaluations       0 of" due.log && grep -q "^samples           0 drawings" due.log
bad=$?
ok $bad "--dry-run counts what was due at the step of the stop, until it is there"
test $bad = 0 || show due.log
finish time 2
judge time "and the run goes on to the same bits"

# a stop in the middle of an evaluation: it is begun anew
ranks 2 "$exp/smoke.yaml" output=mid $set_up run.threads=1 run.time_limit=0.1 >mid.log 2>&1
finish mid 2
judge mid "a stop that may meet an evaluation, resumed: the same bits"

# a rank that stands still
ranks 2 "$exp/smoke.yaml" output=stall $set_up run.threads=1 run.stall_limit=1 >stall.log 2>&1 &
job=$!
wait_for stall/checkpoints/step-00000100.h5
kill -STOP "$(pgrep -f -n "^$diffx.*output=stall ")"
wait $job
test $? = 6 && grep -q "rank [01]: no progress for 1 s" stall.log
bad=$?
ok $bad "a rank that stands still ends the job with status 6, by run.stall_limit"
test $bad = 0 || show stall.log
finish stall 1
judge stall "and the run goes on to the same bits"

# damaged checkpoints
ranks 1 "$exp/smoke.yaml" output=hurt $set_up train.steps=500 >hurt.log 2>&1
size=$(stat -c %s hurt/checkpoints/step-00000500.h5)
printf 'x' | dd of=hurt/checkpoints/step-00000500.h5 bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null
truncate -s 1000 hurt/checkpoints/step-00000400.h5
cp hurt/checkpoints/step-00000300.h5 hurt/checkpoints/step-best.h5
cp hurt/checkpoints/step-00000200.h5 hurt/checkpoints/step-00000200-good.h5
echo half >hurt/checkpoints/step-00000301.h5.part
finish hurt 2
judge hurt "a damaged and a truncated newest checkpoint are passed over: the same bits"
grep -q "step-00000500.h5.*trying the checkpoint before it" hurt.log && grep -q "step-00000400.h5.*trying" hurt.log
ok $? "and both are reported"
test -e hurt/checkpoints/step-best.h5 && test -e hurt/checkpoints/step-00000200-good.h5
ok $? "copies under names of their own stay"
test ! -e hurt/checkpoints/step-00000301.h5.part
ok $? "what a killed session had begun to write goes"
rm hurt/checkpoints/step-best.h5 hurt/checkpoints/step-00000200-good.h5
ls hurt/checkpoints | wc -l | grep -qx 4
ok $? "the newest run.keep checkpoints are kept"

# keep=1 with a damaged newest checkpoint: what is written afterwards stays
ranks 1 "$exp/smoke.yaml" output=keep $set_up train.steps=300 run.keep=2 >keep.log 2>&1
truncate -s 1000 keep/checkpoints/step-00000300.h5
ranks 1 "$exp/smoke.yaml" output=keep $set_up run.keep=1 run.time_limit=1e-6 >>keep.log 2>&1
test $? = 75 && test -e keep/checkpoints/step-00000201.h5
ok $? "a checkpoint older than a damaged one is not dropped for it"
finish keep 1
judge keep "and the run goes on to the same bits"

# names of nine digits come after those of eight
ranks 1 "$exp/smoke.yaml" output=long $set_up train.steps=200 >long.log 2>&1
mv long/checkpoints/step-00000200.h5 long/checkpoints/step-100000000.h5
mv long/checkpoints/step-00000100.h5 long/checkpoints/step-99999999.h5
ranks 1 "$exp/smoke.yaml" output=long $set_up train.steps=200 2>&1 | grep -q "resuming from long/checkpoints/step-100000000.h5"
ok $? "step 100,000,000 is newer than step 99,999,999"

# a journal that is gone: said, and nothing is lost
ranks 1 "$exp/smoke.yaml" output=gone $set_up train.steps=1000 >gone.log 2>&1
rm gone/journal
ranks 1 "$exp/smoke.yaml" output=gone $set_up >gone.log 2>&1
grep -q "gone/journal is damaged or gone.*metrics-before-step-1000.h5" gone.log && test -s gone/metrics-before-step-1000.h5
ok $? "a lost journal is said, and the old record is kept"

# an evaluation longer than the time limit goes on in the sessions that follow, on other ranks
few="evaluate.examples=12 evaluate.timesteps=4"
ranks 1 "$exp/smoke.yaml" output=whole $set_up $few train.steps=1 run.threads=1 >slow.log 2>&1
status=75 sessions=0
while test $status = 75 && test $sessions -lt 20; do
  ranks $((1 + sessions % 3)) "$exp/smoke.yaml" output=slow $set_up $few train.steps=1 run.time_limit=1e-6 run.threads=1 >>slow.log 2>&1
  status=$?
  sessions=$((sessions + 1))
done
"$diffx" compare whole slow >slow.cmp 2>&1 && cmp whole/samples/step-00000001.h5 slow/samples/step-00000001.h5 >>slow.cmp 2>&1 && test $status = 0 &&
  test $sessions -gt 3 && grep -q "^the evaluation goes on where it was stopped" slow.log && ! test -e slow/evaluation.begun
judge slow "an evaluation longer than run.time_limit comes to its end, in $sessions sessions, to the same bits"

# diffx evaluate, asked to stop, then killed, then gone on with on three ranks
ranks 1 "$exp/smoke.yaml" output=late evaluate.every=never sample.every=never train.steps=1 data.test=20000 run.threads=1 >late.log 2>&1
keys="evaluate.examples=all evaluate.timesteps=25 evaluate.strata=neyman evaluate.train_examples=50 evaluate.draws=8 objective.variance=optimal run.threads=1"
"$diffx" evaluate late -o whole.h5 $keys >late.log 2>&1
begun() {         # it has written what it has
  i=0
  while ! test -e parts.h5.begun && test $i -lt 1200; do sleep 0.02; i=$((i + 1)); done
}
"$diffx" evaluate late -o parts.h5 $keys >late.log 2>&1 &
job=$!
begun
kill -USR1 $job
wait $job
test $? = 75 && test -e parts.h5.begun && ! test -e parts.h5
ok $? "diffx evaluate stops at a signal with status 75"
cp parts.h5.begun before.begun
"$diffx" evaluate late -o parts.h5 $keys >>late.log 2>&1 &
job=$!
i=0
while cmp -s parts.h5.begun before.begun && test $i -lt 1200; do sleep 0.02; i=$((i + 1)); done
kill -9 $job
wait $job
test $? != 0 && test -e parts.h5.begun
ok $? "and is killed when it has gone on"
ranks 3 evaluate late -o parts.h5 $keys >>late.log 2>&1
"$diffx" compare whole.h5 parts.h5 >late.cmp 2>&1 && test "$(grep -c "goes on where it was stopped" late.log)" -ge 2 && ! test -e parts.h5.begun
judge late "then it goes on, on three ranks, to the same bits"
cp before.begun other.h5.begun
"$diffx" evaluate late -o other.h5 evaluate.examples=7 >other.log 2>&1 && grep -q "other.h5.begun is of another evaluation: this one is begun anew" other.log
ok $? "what is begun of another evaluation is passed over"
head -c 100 before.begun >torn.h5.begun
"$diffx" evaluate late -o torn.h5 evaluate.examples=7 >other.log 2>&1 && grep -q "torn.h5.begun has no seal at its end.*begun anew" other.log &&
  "$diffx" compare other.h5 torn.h5 >other.cmp 2>&1
ok $? "and so is what is torn"
"$diffx" evaluate late $keys >named.log 2>&1 &
job=$!
i=0
while ! ls late/evaluation-*.begun >/dev/null 2>&1 && test $i -lt 1200; do sleep 0.02; i=$((i + 1)); done
kill -USR1 $job
wait $job
"$diffx" evaluate late evaluate.examples=7 >>named.log 2>&1 && ls late/evaluation-*.begun >/dev/null 2>&1 && "$diffx" evaluate late $keys >>named.log 2>&1 &&
  grep -q "goes on where it was stopped" named.log && ! ls late/evaluation-*.begun >/dev/null 2>&1
judge named "without -o another evaluation of the run leaves it alone"

# what may change and what may not
cp -r ref other
ranks 1 "$exp/smoke.yaml" output=other $set_up train.batch=24 run.threads=1 >other.log 2>&1
test $? = 3 && grep -q "train.batch" other.log
ok $? "another train.batch is refused by name"
cmp ref/$last other/$last
ok $? "and nothing is lost"
ranks 2 "$exp/smoke.yaml" output=other $set_up train.steps=2050 run.threads=1 >>other.log 2>&1
ok $? "train.steps may change"
done_testing
