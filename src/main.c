/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - which command runs, and how it ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"

const dx_command dx_commands[] = {
  {"train", "mpiexec -n N diffx [train] EXPERIMENT.yaml [key=value ...] [--dry-run [--ranks N]]",
   "train, or go on where the run stopped; --dry-run checks the experiment and shows what N ranks would take, each with this machine's cores unless run.threads is given", DX_MPI, dx_cmd_train},
  {"sample", "diffx sample RUN|CHECKPOINT [-o FILE.h5] [key=value ...]",
   "draw samples from a trained model, into RUN/samples/drawn-NNNNNNNN.h5; the same ones each time, others with seed=N",
   DX_MPI, dx_cmd_sample},
  {"export-samples", "diffx export-samples RUN|SAMPLES.h5 OUT.npz|FOLDER/ [--force]",
   "samples as arr_0 (and arr_1, their classes) of an npz, as guided-diffusion's evaluator reads it, or images as PNG files",
   DX_NO_MPI, dx_cmd_export_samples},
  {"evaluate", "diffx evaluate RUN|CHECKPOINT [-o FILE.h5] [key=value ...]",
   "the bound of a trained model, term by term, as a record of its own", DX_MPI, dx_cmd_evaluate},
  {"data", "diffx data make KIND OUT.h5 [--force] [key=value ...] | diffx data import FORMAT SOURCE OUT.h5 [--force] [key=value ...]"
   " | diffx data show FILE.h5",
   "write a procedural set as a file; turn CIFAR-10, IDX, images or npy into one (--force: over one that stands there); "
   "show what one holds", DX_NO_MPI, dx_cmd_data},
  {"model", "diffx model import DIR OUT.h5 [key=value ...] | diffx model export RUN|CHECKPOINT DIR [--ema[=RATE]]",
   "turn a UNet2DModel of diffusers into a checkpoint; write a trained U-Net as one", DX_NO_MPI, dx_cmd_model},
  {"predict", "mpiexec -n N diffx predict RUN|CHECKPOINT IN.h5 OUT.h5 [--ema[=RATE]] [key=value ...]",
   "what a trained network, its raw weights or (--ema) an average, predicts for the x and t of a file", DX_MPI, dx_cmd_predict},
  {"verify", "diffx verify [key=value of run.* ...]", "prove this installation right against closed forms", DX_MPI,
   dx_cmd_verify},
  {"compare", "diffx compare RUN_A RUN_B", "are the records of two runs the same, bit for bit?", DX_NO_MPI, dx_cmd_compare},
  {"status", "diffx status RUN", "how far a run is, also while it goes on", DX_NO_MPI, dx_cmd_status},
  {"list", "diffx list", "what can be chosen: data, schedules, models, samplers, kernel sets", DX_NO_MPI, dx_cmd_list},
  {"help", "diffx help [COMMAND | KEY | SECTION | options]", "this page, a command, or an option", DX_NO_MPI, dx_cmd_help},
  {0},
};

static const dx_command *find(const char *name)
{
  for (const dx_command *c = dx_commands; c->name; c++)
    if (!strcmp(c->name, name)) return c;
  return NULL;
}

static bool asks_for_help(const char *word) { return !strcmp(word, "--help") || !strcmp(word, "-h"); }

/* diffx EXPERIMENT.yaml is short for diffx train EXPERIMENT.yaml, diffx COMMAND ... --help for diffx help COMMAND. */
static const dx_command *choose(int *argc, char ***argv)
{
  static char train[] = "train";
  const char *const first = *argc > 0 ? (*argv)[0] : "help";
  const dx_command *const c = find(asks_for_help(first) ? "help" : first), *const help = find("help");

  for (int i = 1; i < *argc && c != help; i++) {
    if (!asks_for_help((*argv)[i])) continue;
    if (!c) (*argv)[0] = train;
    *argc = 1;
    return help;
  }
  if (!c) return find("train");
  if (*argc > 0) {
    (*argc)--;
    (*argv)++;
  }
  return c;
}

static int end(dx_error *err, const dx_comm *comm, dx_logger *log)
{
  const int status = err ? (int)dx_error_code(err) : 0;

  if (err && (!comm || dx_comm_rank(comm) == 0))
    dx_log_say(log, status == DX_E_STOPPED ? DX_LOG_WARN : DX_LOG_ERROR, "%s", dx_error_text(err));
  dx_error_free(err);
  return status;
}

/* help, list, --version, --dry-run, data and status start no MPI: under a launcher one speaks. */
static int run_alone(const dx_call *call, dx_error *(*run)(const dx_call *))
{
  int ranks, rank;

  dx_comm_launched(&ranks, &rank);
  return rank > 0 ? 0 : end(run(call), NULL, call->log);
}

/* How long a waiting thread spins before it sleeps is read by GNU's OpenMP from the environment, before
   main: so it is set and the program begun once more. Its own choice of milliseconds makes two threads on
   cores that others use too ten times slower than one; a few microseconds cost nothing on cores of our own. */
static void spin_briefly(char **argv)
{
  char self[4096]; /* its own name, so that top shows diffx */
  const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

  if (n <= 0 || getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
  self[n] = '\0';
  setenv("GOMP_SPINCOUNT", "3000", 1);
  execv(self, argv); /* where this fails, all is as it was */
}

int main(int argc, char **argv)
{
  dx_logger log = {.level = DX_LOG_INFO, .screen = stderr, .terminal = dx_comm_terminal()};
  dx_call call = {.log = &log};
  dx_comm *comm = NULL;
  char **const first_argv = argv;
  dx_error *err;
  int status;

  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc > 1 && !strcmp(argv[1], "--version")) return run_alone(&call, dx_cmd_version);
  argc--;
  argv++;
  const dx_command *const c = choose(&argc, &argv);
  call.argc = argc;
  call.argv = argv;
  if (c->run == dx_cmd_train && dx_call_flag(&call, "--dry-run")) return run_alone(&call, dx_cmd_plan);
  if (c->mpi == DX_NO_MPI) return run_alone(&call, c->run);
  spin_briefly(first_argv);
  if ((err = dx_comm_start(&argc, &argv, &comm))) return end(err, NULL, &log);
  call.comm = comm;
  if (dx_comm_rank(comm) > 0) log = (dx_logger){.level = DX_LOG_WARN, .screen = stderr};
  status = end(c->run(&call), comm, &log);
  dx_comm_stop(comm);
  return status;
}
