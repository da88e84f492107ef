/* MPI_Allreduce in place, float32 sum: prints "bytes median_us" per size. Arguments: sizes in bytes. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  int rank, size;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  for (int a = 1; a < argc; a += 1) {
    const size_t bytes = strtoull(argv[a], NULL, 10), elems = bytes / 4;
    float *x = malloc(bytes);
    double samples[2048];
    for (size_t i = 0; i < elems; i += 1) x[i] = (float)(rank + 1);
    MPI_Allreduce(MPI_IN_PLACE, x, (int)elems, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    for (size_t i = 0; i < elems; i += 1) {
      if (x[i] != size * (size + 1) / 2.0f) {
        fprintf(stderr, "wrong result\n");
        MPI_Abort(MPI_COMM_WORLD, 1);
      }
      x[i] = 0;
    }
    const int iterations = bytes <= 65536 ? 2000 : bytes <= (1 << 20) ? 100 : 15;
    const int warm_ups = bytes <= 65536 ? 2 * iterations : iterations / 2;
    for (int i = -warm_ups; i < iterations; i += 1) {
      if (bytes > 65536) MPI_Barrier(MPI_COMM_WORLD);
      const double started = MPI_Wtime();
      MPI_Allreduce(MPI_IN_PLACE, x, (int)elems, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
      if (i >= 0) samples[i] = (MPI_Wtime() - started) * 1e6;
    }
    if (rank == 0) {
      qsort(samples, iterations, sizeof(double), ascending);
      printf("%zu %f\n", bytes, samples[iterations / 2]);
      fflush(stdout);
    }
    free(x);
  }
  MPI_Finalize();
  return 0;
}
