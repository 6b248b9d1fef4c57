/* SPDX-License-Identifier: Apache-2.0 */
/* bench/empty_mpi.c - what starting and stopping MPI costs by itself. */
#include <mpi.h>

int main(int argc, char **argv)
{
  int given;

  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &given);
  MPI_Barrier(MPI_COMM_WORLD);
  return MPI_Finalize();
}
