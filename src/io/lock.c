/* SPDX-License-Identifier: Apache-2.0 */
/* io/lock.c - who runs in a folder.

   The lock is made by O_EXCL, so one of many gets it. Taking over a stale one goes
   through a second file made the same way, RUN/lock.takeover: its maker alone looks at
   the lock once more, and when the lock is still the stale one, renames its own text
   over it. So between two that found the same stale lock, one wins and the other sees
   a live lock. Ages are differences of times set by the file system of the folder,
   so clocks of hosts need not agree. */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TEXT = 2048, FORGOTTEN = 600 /* seconds without a touch */ };

struct dx_lock {
  char *path, *takeover;
  char text[TEXT]; /* what stands in the file while it is ours */
};

/* What a lock says. boot and space tell whether process numbers of it are ours to look up. */
typedef struct {
  char host[256], boot[64], space[64], job[128], since[64];
  long process;
  unsigned long long start; /* of the process, clock ticks after boot */
} holder;

/* State letter and start time of a process; false where there is none. */
static bool process_start(long process, char *state, unsigned long long *start)
{
  char name[64], text[1024];
  const char *p;
  FILE *f;
  size_t n;

  snprintf(name, sizeof name, "/proc/%ld/stat", process);
  f = fopen(name, "r");
  if (!f) return false;
  n = fread(text, 1, sizeof text - 1, f);
  fclose(f);
  text[n] = '\0';
  p = strrchr(text, ')'); /* the name before it may hold anything */
  return p && sscanf(p + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
                            "%*d %*d %*d %llu", state, start) == 2;
}

static void boot_id(char *text, size_t room)
{
  FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");

  if (!f || !fgets(text, (int)room, f)) snprintf(text, room, "-");
  if (f) fclose(f);
  text[strcspn(text, "\n")] = '\0';
}

/* The batch job that we are, with the count of its restarts: "slurm 1234 restart 1", or "-". */
static void job_name(char *text, size_t room)
{
  static const char *const queue[][3] = {{"slurm", "SLURM_JOB_ID", "SLURM_RESTART_COUNT"},
                                         {"pbs", "PBS_JOBID", NULL},
                                         {"lsf", "LSB_JOBID", NULL}};

  snprintf(text, room, "-");
  for (size_t i = 0; i < sizeof queue / sizeof *queue; i++) {
    const char *id = getenv(queue[i][1]), *restart = queue[i][2] ? getenv(queue[i][2]) : NULL;

    if (!id || !*id) continue;
    snprintf(text, room, restart ? "%s %s restart %s" : "%s %s", queue[i][0], id, restart);
    return;
  }
}

static void self(holder *h)
{
  const time_t now = time(NULL);
  struct tm utc;
  ssize_t n;
  char state;

  memset(h, 0, sizeof *h);
  if (gethostname(h->host, sizeof h->host - 1)) snprintf(h->host, sizeof h->host, "unknown");
  boot_id(h->boot, sizeof h->boot);
  n = readlink("/proc/self/ns/pid", h->space, sizeof h->space - 1);
  if (n <= 0) snprintf(h->space, sizeof h->space, "-");
  h->process = (long)getpid();
  if (!process_start(h->process, &state, &h->start)) h->start = 0;
  job_name(h->job, sizeof h->job);
  strftime(h->since, sizeof h->since, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
}

static void print(const holder *h, char text[TEXT])
{
  snprintf(text, TEXT,
           "host: %s\nprocess: %ld\nstart: %llu\njob: %s\nsince: %s\nboot: %s\nspace: %s\n",
           h->host, h->process, h->start, h->job, h->since, h->boot, h->space);
}

/* false: no lock of ours, or one that was cut short. */
static bool parse(const char *text, holder *h)
{
  memset(h, 0, sizeof *h);
  return sscanf(text,
                "host: %255[^\n]\nprocess: %ld\nstart: %llu\njob: %127[^\n]\nsince: %63[^\n]\n"
                "boot: %63[^\n]\nspace: %63[^\n]", h->host, &h->process, &h->start, h->job,
                h->since, h->boot, h->space) == 7 && h->process > 0;
}

/* Same job of the queue, other restart: the queue has ended the one before. */
static bool same_job_before(const char *theirs, const char *ours)
{
  const char *restart = strstr(ours, " restart ");
  const size_t n = restart ? (size_t)(restart - ours) : 0;

  if (!restart || !strcmp(theirs, ours) || strncmp(theirs, ours, n)) return false;
  return theirs[n] == '\0' || theirs[n] == ' ';
}

/* Whether the process of a lock is still there, as far as this host can tell. */
static bool gone(const holder *h)
{
  char state;
  unsigned long long start;

  if (kill((pid_t)h->process, 0) && errno == ESRCH) return true;
  if (!process_start(h->process, &state, &start)) return false; /* no /proc here */
  return state == 'Z' || state == 'X' || (h->start != 0 && start != h->start);
}

/* Why the lock is stale, as words for a message; NULL while it must be taken as live. */
static const char *stale(const char *text, double age)
{
  holder h, us;

  if (parse(text, &h)) {
    self(&us);
    if (!strcmp(h.host, us.host) && !strcmp(h.boot, us.boot) && !strcmp(h.space, us.space))
      return gone(&h) ? "that process is no more" : NULL;
    if (same_job_before(h.job, us.job)) return "the same job before it was requeued";
    if (!strcmp(h.host, us.host) && strcmp(h.boot, us.boot)) return "the host was restarted since";
  }
  return age > FORGOTTEN ? "it was not touched for ten minutes" : NULL;
}

static void describe(const char *text, char *words, size_t room)
{
  holder h;

  if (!parse(text, &h)) snprintf(words, room, "an unreadable lock");
  else
    snprintf(words, room, "process %ld on %s since %s%s%s", h.process, h.host, h.since,
             strcmp(h.job, "-") ? ", job " : "", strcmp(h.job, "-") ? h.job : "");
}

/* Make a file that was not there, with that text. errno, 0 when done. */
static int make_new(const char *path, const char *text)
{
  const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  const size_t n = strlen(text);
  int why = 0;
  ssize_t did;

  if (fd < 0) return errno;
  did = write(fd, text, n);
  if (did < 0) why = errno;
  else if ((size_t)did < n) why = ENOSPC;
  if (close(fd) && !why) why = errno;
  if (why) unlink(path);
  return why;
}

static int read_text(const char *path, char text[TEXT])
{
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n;
  int why = 0;

  if (fd < 0) return errno;
  n = read(fd, text, TEXT - 1);
  if (n < 0) why = errno;
  text[n > 0 ? n : 0] = '\0';
  close(fd);
  return why;
}

/* Seconds since the file at path was touched, by the clock of the file system: `now` is a
   file that was made this moment. */
static double age_of(const char *path, const char *now)
{
  struct stat old, new;

  if (stat(path, &old) || stat(now, &new)) return 0;
  return difftime(new.st_mtime, old.st_mtime);
}

typedef enum { TAKEN, HELD, AGAIN, FAILED } outcome;

/* We are the maker of l->takeover. Look at the lock again and replace it if it is stale. */
static outcome replace_stale(dx_lock *l, char found[TEXT], char **notice, int *why)
{
  const char *reason;
  char who[1024];

  *why = read_text(l->path, found);
  if (*why == ENOENT) return AGAIN;
  if (*why) return FAILED;
  reason = stale(found, age_of(l->path, l->takeover));
  if (!reason) return HELD;
  if (rename(l->takeover, l->path)) {
    *why = errno;
    return FAILED;
  }
  describe(found, who, sizeof who);
  *notice = malloc(strlen(l->path) + sizeof who + 64);
  if (*notice)
    sprintf(*notice, "%s: took over from %s (%s)", l->path, who, reason);
  return TAKEN;
}

/* One try. HELD leaves the text of the holder in found. */
static outcome try_once(dx_lock *l, char found[TEXT], char **notice, int *why)
{
  struct stat s;
  outcome o;

  *why = make_new(l->path, l->text);
  if (*why == 0) return TAKEN;
  if (*why != EEXIST) return FAILED;
  *why = make_new(l->takeover, l->text);
  if (*why == EEXIST) {
    /* somebody is at it; one that died within these few lines is swept away */
    if (stat(l->takeover, &s) == 0 && difftime(time(NULL), s.st_mtime) > FORGOTTEN)
      unlink(l->takeover);
    else usleep(20000);
    return AGAIN;
  }
  if (*why) return FAILED;
  o = replace_stale(l, found, notice, why);
  if (o != TAKEN) unlink(l->takeover);
  return o;
}

static void destroy(dx_lock *l)
{
  if (!l) return;
  free(l->takeover);
  free(l->path);
  free(l);
}

static dx_error *create(const char *folder, dx_lock **out)
{
  dx_lock *l = calloc(1, sizeof *l);
  const size_t room = strlen(folder) + sizeof "/lock.takeover";
  holder us;

  if (l) {
    l->path = malloc(room);
    l->takeover = malloc(room);
  }
  if (!l || !l->path || !l->takeover) {
    destroy(l);
    return DX_FAIL(INTERNAL, "out of memory");
  }
  sprintf(l->path, "%s/lock", folder);
  sprintf(l->takeover, "%s/lock.takeover", folder);
  self(&us);
  print(&us, l->text);
  *out = l;
  return NULL;
}

dx_error *dx_lock_take(const char *folder, dx_lock **out, char **notice)
{
  dx_lock *l = NULL;
  char found[TEXT] = "", who[1024];
  outcome o = AGAIN;
  int why = 0;

  *notice = NULL;
  DX_TRY(create(folder, &l));
  for (int tries = 0; o == AGAIN && tries < 100; tries++) o = try_once(l, found, notice, &why);
  if (o == TAKEN) {
    *out = l;
    return NULL;
  }
  destroy(l);
  if (o == FAILED) return DX_FAIL(IO, "cannot write in %s: %s", folder, strerror(why));
  if (o == AGAIN) return DX_FAIL(IO, "%s is being taken by another process", folder);
  describe(found, who, sizeof who);
  return DX_FAIL(IO, "%s is in use by %s; if that is not so, remove %s/lock", folder, who, folder);
}

dx_lock_state dx_lock_look(const char *folder, char *words, size_t room)
{
  char path[4096], text[TEXT], who[1024];
  struct stat s;
  const char *reason;

  snprintf(path, sizeof path, "%s/lock", folder);
  if (stat(path, &s) || read_text(path, text)) {
    snprintf(words, room, "nobody");
    return DX_LOCK_FREE;
  }
  describe(text, who, sizeof who);
  reason = stale(text, difftime(time(NULL), s.st_mtime)); /* a look writes nothing: by our clock */
  snprintf(words, room, "%s%s%s%s", who, reason ? " (" : "", reason ? reason : "", reason ? ")" : "");
  return reason ? DX_LOCK_STALE : DX_LOCK_HELD;
}

/* Whether the lock that stands is ours; where it cannot be read it is taken for ours. */
static bool ours(const dx_lock *l)
{
  char text[TEXT];
  const int why = read_text(l->path, text);

  return why ? why != ENOENT : !strcmp(text, l->text);
}

bool dx_lock_touch(dx_lock *l)
{
  if (!ours(l)) return false;
  (void)utimensat(AT_FDCWD, l->path, NULL, 0); /* missed once is no harm: ten minutes are many */
  return true;
}

void dx_lock_release(dx_lock *l)
{
  if (!l) return;
  if (ours(l)) unlink(l->path);
  destroy(l);
}
