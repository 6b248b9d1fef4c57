/* SPDX-License-Identifier: Apache-2.0 */
/* tests/file.c - atomic writes, locks that are live and stale, journals cut at every byte. */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "errors.h"
#include "tap.h"

static char dir[] = "/tmp/diffx-file-XXXXXX";

static const char *in(const char *name) { return path_in(dir, name); }

static int holds(const char *path, const char *bytes, size_t size)
{
  char *text = NULL;
  size_t n = 0;
  int good;

  if (!fine(dx_file_read(path, 1 << 20, &text, &n))) return 0;
  good = n == size && !memcmp(text, bytes, n) && text[n] == '\0';
  free(text);
  return good;
}

static void plain_files(void)
{
  char *text;
  size_t n;

  ok(fine(dx_file_write_atomic(in("a"), "one\0two", 7)) && holds(in("a"), "one\0two", 7),
     "bytes come back as written");
  ok(fine(dx_file_write_atomic(in("a"), "", 0)) && holds(in("a"), "", 0), "an empty file");
  ok(!dx_file_exists(in("a.part")), "no temporary file is left");
  ok(fails(dx_file_read(in("none"), 9, &text, &n), DX_E_IO, "No such file"), "a missing file");
  ok(fails(dx_file_read(dir, 9, &text, &n), DX_E_IO, "directory"), "a folder is not read");
  fine(dx_file_write_atomic(in("a"), "0123456789", 10));
  ok(fails(dx_file_read(in("a"), 9, &text, &n), DX_E_IO, "larger than"), "the limit is kept");
  ok(fine(dx_file_read(in("a"), 10, &text, &n)) && n == 10, "a file as large as the limit");
  free(text);
  ok(fails(dx_file_write_atomic(in("no/a"), "x", 1), DX_E_IO, "/no/a: No such file"),
     "writing where no folder is");
  fine(dx_folder_make(in("taken")));
  ok(fails(dx_file_write_atomic(in("taken"), "x", 1), DX_E_IO, "taken: Is a directory") &&
     !dx_file_exists(in("taken.part")), "writing over a folder");
}

/* Sizes around the blocks of the hash; every byte counts, the seal's own too. */
static void sealed(void)
{
  static const size_t size[] = {0, 1, 15, 1000, 1 << 20, (1 << 20) + 5};
  static char bytes[(1 << 20) + 5];
  int bad = 0, missed = 0;
  char *text = NULL;
  size_t n = 0;

  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)(i * 7 + i / 1000);
  for (size_t k = 0; k < sizeof size / sizeof *size; k++) {
    bad += !fine(dx_file_write_sealed(in("s"), bytes, size[k])) || !fine(dx_file_check_seal(in("s")));
    bad += !fine(dx_file_read(in("s"), 1 << 24, &text, &n)) || n != size[k] + 16 || memcmp(text, bytes, size[k]);
    for (size_t at = 0; at < n; at += at + 17 >= n ? 1 : at + n / 5 + 17 >= n ? n - 17 - at : n / 5) {
      dx_error *e;

      text[at] ^= 4;
      fine(dx_file_write_atomic(in("s"), text, n));
      e = dx_file_check_seal(in("s"));
      missed += !e || dx_error_code(e) != DX_E_DATA ||
                !strstr(dx_error_text(e), at < n - 16 || at >= n - 8 ? "is damaged" : "no seal");
      dx_error_free(e);
      text[at] ^= 4;
    }
    free(text);
  }
  ok(!bad, "sealed files hold their bytes and the seal");
  ok(!missed, "one bit anywhere is found");
  fine(dx_file_write_atomic(in("s"), "short", 5));
  ok(fails(dx_file_check_seal(in("s")), DX_E_DATA, "s has no seal"), "a file without a seal");
  ok(fails(dx_file_check_seal(in("none")), DX_E_IO, "No such file"), "no file");
}

static void two_writers(void)
{
  const int fd = open(in("w.part"), O_WRONLY | O_CREAT, 0666);
  pid_t child;

  ok(write(fd, "left behind by a killed program", 31) == 31 && close(fd) == 0 &&
     fine(dx_file_write_atomic(in("w"), "new", 3)) && holds(in("w"), "new", 3),
     "what a killed writer left is used up");
  fflush(stdout);
  child = fork();
  for (int i = 0; i < 200; i++) {
    static char bytes[100000];
    dx_error *e;

    memset(bytes, child ? 'p' : 'c', sizeof bytes);
    e = dx_file_write_atomic(in("w"), bytes, sizeof bytes);
    if (e && !strstr(dx_error_text(e), "another process")) fine(e);
    else dx_error_free(e);
  }
  if (!child) _exit(0);
  waitpid(child, NULL, 0);
  {
    char *text = NULL;
    size_t n = 0, same = 0;

    fine(dx_file_read(in("w"), 1 << 20, &text, &n));
    for (size_t i = 0; i < n; i++) same += text[i] == text[0];
    ok(n == 100000 && same == n && !dx_file_exists(in("w.part")), "two writers never mix");
    free(text);
  }
}

static void folders(void)
{
  struct stat s;

  ok(fine(dx_folder_make(in("x/y/z/"))) && stat(in("x/y/z"), &s) == 0 && S_ISDIR(s.st_mode),
     "folders are made on the way");
  ok(fine(dx_folder_make(in("x/y"))), "a folder that is there");
  fine(dx_file_write_atomic(in("x/file"), "", 0));
  ok(fails(dx_folder_make(in("x/file/b/c")), DX_E_IO, "x/file: a file"), "a file in the way is named");
  ok(dx_folder_free_bytes(dir) > 0 && dx_folder_free_bytes(in("nowhere")) == -1, "free space");
}

/* A file system of 64 KiB, where there are rights to mount one. */
static void disk_full(void)
{
  const char *small = in("small");
  static char bytes[200000];
  char path[300];
  dx_journal *j = NULL;
  int n = 0;
  dx_error *e = NULL;

  fine(dx_folder_make(small));
  if (mount("none", small, "tmpfs", 0, "size=64k")) {
    ok(1, "disk full # SKIP no rights to mount a tmpfs");
    return;
  }
  snprintf(path, sizeof path, "%s/f", small);
  fine(dx_file_write_atomic(path, "old", 3));
  ok(fails(dx_file_write_atomic(path, bytes, sizeof bytes), DX_E_IO, "f: No space left") &&
     holds(path, "old", 3), "a full disk: told, and the old file stands");
  strcat(path, ".part");
  ok(!dx_file_exists(path), "a full disk: no temporary file is left");

  snprintf(path, sizeof path, "%s/j", small);
  if (!fine(dx_journal_open(path, NULL, NULL, &j))) return;
  while (!e && n++ < 100) e = dx_journal_append(j, 1, bytes, 10000);
  ok(fails(e, DX_E_IO, "No space left"), "a full disk: the journal tells");
  ok(fine(dx_journal_append(j, 2, bytes, 10)), "a full disk: a record that fits is still taken");
  dx_journal_close(j);
  umount(small);
}

/* Root may write everywhere, so as root somebody else tries. */
static void read_only(void)
{
  pid_t child;
  int status = 0;

  fine(dx_folder_make(in("ro")));
  chmod(dir, 0711);
  chmod(in("ro"), 0555);
  fflush(stdout);
  child = fork();
  if (!child) {
    if (geteuid() == 0 && setuid(65534)) _exit(1);
    _exit(!fails(dx_file_write_atomic(in("ro/f"), "x", 1), DX_E_IO, "ro/f: Permission denied"));
  }
  waitpid(child, &status, 0);
  ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a folder without write permission");
  chmod(in("ro"), 0755);
}

/* --- the journal --------------------------------------------------------- */

enum { RECORDS = 4 };
static const char *const record[RECORDS] = {"alpha", "", "a somewhat longer third record", "d"};
typedef struct { int n, bad; } seen;

static dx_error *check(void *ctx, uint32_t kind, const void *bytes, size_t size)
{
  seen *s = ctx;

  if (s->n >= RECORDS || kind != (uint32_t)s->n + 7 || size != strlen(record[s->n]) ||
      memcmp(bytes, record[s->n], size))
    s->bad++;
  s->n++;
  return NULL;
}

static dx_error *refuse(void *ctx, uint32_t kind, const void *bytes, size_t size)
{
  (void)ctx, (void)kind, (void)bytes, (void)size;
  return DX_FAIL(DATA, "refused by the reader");
}

static dx_error *append(dx_journal *j, int i)
{
  return dx_journal_append(j, (uint32_t)i + 7, record[i], strlen(record[i]));
}

/* How many good records the file gives; -1 when one of them is wrong. */
static int count(const char *path)
{
  seen s = {0};
  dx_journal *j = NULL;

  if (!fine(dx_journal_open(path, check, &s, &j))) return -1;
  dx_journal_close(j);
  return s.bad ? -1 : s.n;
}

static void put_bytes(const char *path, const char *bytes, size_t size)
{
  unlink(path);
  fine(dx_file_write_atomic(path, bytes, size));
}

/* After any damage: the first good records, then go on writing the missing ones. */
static int goes_on(const char *path, int expected)
{
  seen s = {0};
  dx_journal *j = NULL;
  int good = fine(dx_journal_open(path, check, &s, &j)) && s.n == expected && !s.bad;

  for (int i = s.n; good && i < RECORDS; i++) good = fine(append(j, i));
  dx_journal_close(j);
  return good && count(path) == RECORDS;
}

static void journal(void)
{
  const char *path = "", *whole_path = in("journal");
  char *whole = NULL;
  size_t size = 0, end[RECORDS + 1] = {8};
  int bad = 0;
  dx_journal *j = NULL;

  ok(fine(dx_journal_open(whole_path, NULL, NULL, &j)), "a new journal");
  for (int i = 0; i < RECORDS; i++) {
    bad += !fine(append(j, i));
    end[i + 1] = end[i] + 24 + strlen(record[i]);
  }
  ok(!bad && fine(dx_journal_sync(j)), "records are appended");
  dx_journal_close(j);
  ok(count(whole_path) == RECORDS, "and read back");
  fine(dx_file_read(whole_path, 1 << 20, &whole, &size));
  ok(size == end[RECORDS], "the file holds the records and nothing else");

  path = in("torn");
  bad = 0;
  for (size_t cut = 0; cut <= size; cut++) {
    int expected = 0;

    while (expected < RECORDS && end[expected + 1] <= cut) expected++;
    put_bytes(path, whole, cut);
    bad += !goes_on(path, expected);
  }
  ok(!bad, "cut at each of %zu bytes: the whole records stay, writing goes on", size);

  bad = 0;
  for (size_t at = end[0]; at < size; at++) {
    int expected = 0;

    while (end[expected + 1] <= at) expected++;
    whole[at] = (char)(whole[at] ^ 0x40);
    put_bytes(path, whole, size);
    whole[at] = (char)(whole[at] ^ 0x40);
    bad += !goes_on(path, expected);
  }
  ok(!bad, "a flipped bit at each byte: the records before it stay");

  put_bytes(path, "some text of a user", 19);
  ok(fails(dx_journal_open(path, NULL, NULL, &j), DX_E_DATA, "is not a journal") &&
     holds(path, "some text of a user", 19), "another file is refused and left alone");
  put_bytes(path, "diffxjl2", 8);
  ok(fails(dx_journal_open(path, NULL, NULL, &j), DX_E_DATA, "format 2"), "a newer format is refused");
  ok(fails(dx_journal_open(whole_path, refuse, NULL, &j), DX_E_DATA, "refused by the reader") &&
     holds(whole_path, whole, size), "the reader's refusal is passed on, nothing is cut");
  free(whole);
}

static void restart(void)
{
  const char *path = in("journal");
  dx_journal *j = NULL;
  int bad = 0;

  bad += !fine(dx_journal_open(path, NULL, NULL, &j));
  bad += !fine(dx_journal_restart(j)) + !fine(append(j, 0));
  dx_journal_close(j);
  ok(!bad && count(path) == RECORDS && !dx_file_exists(in("journal.part")),
     "a restart without commit leaves the old records");

  bad += !fine(dx_journal_open(path, NULL, NULL, &j));
  bad += !fine(dx_journal_restart(j)) + !fine(append(j, 3));
  bad += !fine(dx_journal_restart(j)) + !fine(append(j, 0)) + !fine(append(j, 1));
  put_bytes(in("journal.seen"), "", 0);
  ok(!bad && fine(dx_journal_commit(j)) && fine(append(j, 2)), "restart, commit, append");
  dx_journal_close(j);
  ok(count(path) == 3 && !dx_file_exists(in("journal.part")), "the new records stand");
}

/* --- the lock ------------------------------------------------------------ */

/* Take the lock; *held is it, or NULL, and the one it was before is given up: it is no longer
   ours. Whether notice (NULL: none) is part of what was said. */
static int takes(dx_lock **held, const char *notice)
{
  char *said = NULL;
  int good;

  dx_lock_release(*held);
  *held = NULL;
  if (!fine(dx_lock_take(dir, held, &said))) return 0;
  good = notice ? said && strstr(said, notice) != NULL : said == NULL;
  if (!good) printf("# notice: %s\n", said ? said : "none");
  free(said);
  return good;
}

static int refused(const char *words)
{
  dx_lock *l = NULL;
  char *said = NULL;

  return fails(dx_lock_take(dir, &l, &said), DX_E_IO, words) && !said;
}

/* Replace one line's value in the lock file. */
static void alter(const char *key, const char *value)
{
  char *text = NULL, all[4096], *at, *rest;
  size_t n = 0;

  fine(dx_file_read(in("lock"), 4096, &text, &n));
  at = strstr(text, key);
  if (!at) return;
  rest = strchr(at, '\n');
  snprintf(all, sizeof all, "%.*s%s: %s%s", (int)(at - text), text, key, value, rest);
  fine(dx_file_write_atomic(in("lock"), all, strlen(all)));
  free(text);
}

static void age(long seconds)
{
  struct timespec t[2] = {{.tv_sec = time(NULL) - seconds}, {.tv_sec = time(NULL) - seconds}};

  utimensat(AT_FDCWD, in("lock"), t, 0);
}

static long dead_process(void)
{
  const pid_t child = fork();

  if (!child) _exit(0);
  waitpid(child, NULL, 0);
  return child;
}

static void live_lock(void)
{
  dx_lock *l = NULL, *again = NULL;
  pid_t child;
  int status = 0;
  char words[64];

  ok(takes(&l, NULL) && dx_file_exists(in("lock")), "a free folder is taken");
  snprintf(words, sizeof words, "in use by process %ld on", (long)getpid());
  ok(refused(words), "a second time it is refused, with who holds it");
  age(100000);
  ok(refused(words), "however long it was not touched: the process lives here");
  fflush(stdout);
  child = fork();
  if (!child) _exit(refused(words) ? 0 : 1);
  waitpid(child, &status, 0);
  ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "another process is refused too");
  ok(dx_lock_touch(l) && !dx_file_exists(in("lock.takeover")), "the holder touches it");
  dx_lock_release(l);
  ok(!dx_file_exists(in("lock")), "release removes it");
  ok(takes(&again, NULL), "and it can be taken again");
  alter("process", "1");
  ok(!dx_lock_touch(again), "touch tells when the lock is another's");
  dx_lock_release(again);
  ok(dx_file_exists(in("lock")), "and release leaves it to the other");
  unlink(in("lock"));
  {
    char *said;
    dx_lock *none;

    ok(fails(dx_lock_take(in("absent"), &none, &said), DX_E_IO, "absent: No such file"),
       "a folder that is not there");
  }
}

static void stale_locks(void)
{
  dx_lock *l = NULL;
  char number[32];

  takes(&l, NULL);
  snprintf(number, sizeof number, "%ld", dead_process());
  alter("process", number);
  ok(takes(&l, "that process is no more"), "stale: no such process");
  alter("start", "12");
  ok(takes(&l, "that process is no more"), "stale: the number belongs to a younger process");
  alter("boot", "00000000-0000-0000-0000-000000000000");
  ok(takes(&l, "the host was restarted"), "stale: the host was restarted");
  alter("host", "elsewhere.example");
  ok(refused("on elsewhere.example"), "live: another host, touched a moment ago");
  age(601);
  ok(takes(&l, "not touched for ten minutes"), "stale: another host, long silent");
  alter("space", "pid:[1]");
  ok(refused("in use by process"), "live: another container of this host");
  age(601);
  ok(takes(&l, "not touched for ten minutes"), "stale: another container, long silent");
  put_bytes(in("lock"), "host: x\npro", 11);
  ok(refused("an unreadable lock"), "a torn lock is taken for live");
  age(601);
  ok(takes(&l, "an unreadable lock"), "and for stale later");

  setenv("SLURM_JOB_ID", "77", 1);
  takes(&l, NULL);
  ok(dx_lock_touch(l), "a lock of job 77");
  alter("host", "elsewhere.example");
  ok(refused("job slurm 77"), "live: the same job elsewhere, with the job named");
  setenv("SLURM_RESTART_COUNT", "1", 1);
  ok(takes(&l, "the same job before it was requeued"), "stale: the job was requeued");
  alter("host", "elsewhere.example");
  setenv("SLURM_RESTART_COUNT", "2", 1);
  ok(takes(&l, "the same job before it was requeued"), "stale: and requeued again");
  alter("host", "elsewhere.example");
  setenv("SLURM_JOB_ID", "7", 1);
  ok(refused("job slurm 77 restart 2"), "live: another job whose number begins alike");
  unsetenv("SLURM_JOB_ID");
  unsetenv("SLURM_RESTART_COUNT");
  unlink(in("lock"));
  dx_lock_release(l);
}

/* Many find the same stale lock: one gets it. */
static void race(void)
{
  enum { MANY = 8 };
  dx_lock *l = NULL;
  char number[32];
  int winners = 0, bad = 0;

  for (int round = 0; round < 5; round++) {
    pid_t child[MANY];
    int go[2], hold[2], won = 0;

    takes(&l, NULL);
    snprintf(number, sizeof number, "%ld", dead_process());
    alter("process", number);
    fflush(stdout);
    if (pipe(go) || pipe(hold)) return;
    for (int i = 0; i < MANY; i++) {
      child[i] = fork();
      if (child[i]) continue;
      close(go[1]);
      close(hold[1]);
      {
        char *said = NULL, byte;
        dx_error *e;

        (void)!read(go[0], &byte, 1); /* until all are there */
        e = dx_lock_take(dir, &l, &said);
        /* the winner must live until all have tried */
        if (e) _exit(strstr(dx_error_text(e), "in use by process") ? 1 : 2);
        alarm(20);
        (void)!read(hold[0], &byte, 1);
        _exit(0);
      }
    }
    close(go[0]);
    close(go[1]);
    close(hold[0]);
    for (int losers = 0; losers < MANY - 1; losers++) {
      int status;

      wait(&status);
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) won++;
      bad += !WIFEXITED(status) || WEXITSTATUS(status) == 2;
    }
    close(hold[1]);
    {
      int status;

      wait(&status);
      won += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    winners += won == 1;
    unlink(in("lock"));
    dx_lock_release(l);
    l = NULL;
  }
  ok(winners == 5 && !bad, "of eight that find a stale lock one gets it");
}

static void clean(void)
{
  char command[300];

  snprintf(command, sizeof command, "rm -rf %s", dir);
  if (system(command)) printf("# %s is left\n", dir);
}

int main(void)
{
  if (!mkdtemp(dir)) return 99;
  unsetenv("SLURM_JOB_ID");
  unsetenv("PBS_JOBID");
  unsetenv("LSB_JOBID");
  plain_files();
  sealed();
  two_writers();
  folders();
  disk_full();
  read_only();
  journal();
  restart();
  live_lock();
  stale_locks();
  race();
  clean();
  return done();
}
