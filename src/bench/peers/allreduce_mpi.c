/*
 * MPI_Allreduce in place, timed and verified as khorovod's own benchmark does it (src/bench/measure.ts).
 *
 *   allreduce_mpi DTYPE OP BYTES:WARM_UPS:ITERATIONS:ALIGNED...
 *
 * Rank 0 prints a line of JSON with the library's version, then one a size: bytes, samplesUs (of an aligned call the slowest rank's, else the mean over the ranks), wrong.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PERIOD = 251, MOST_ITEM_BYTES = 8 };

static int rank, size, itemBytes;
static MPI_Datatype type;
static MPI_Op op;
static char own[PERIOD * MOST_ITEM_BYTES], reduced[PERIOD * MOST_ITEM_BYTES];

static void store(char *tile, int i, double value) {
  if (type == MPI_FLOAT) ((float *)tile)[i] = (float)value;
  else if (type == MPI_DOUBLE) ((double *)tile)[i] = value;
  else if (type == MPI_INT32_T) ((int *)tile)[i] = (int)value;
  else ((long long *)tile)[i] = (long long)value;
}

static double element(int of, int i) {
  const int value = (i * 5 + of * 3) % 7;
  return 1 + (op == MPI_PROD ? value % 2 : value);
}

static void make_tiles(void) {
  for (int i = 0; i < PERIOD; i += 1) {
    double all = element(0, i);
    for (int other = 1; other < size; other += 1) {
      const double next = element(other, i);
      if (op == MPI_SUM) all += next;
      else if (op == MPI_PROD) all *= next;
      else if (op == MPI_MIN ? next < all : next > all) all = next;
    }
    store(own, i, element(rank, i));
    store(reduced, i, all);
  }
}

static size_t run_at(size_t i, size_t elems) { return elems - i < PERIOD ? elems - i : PERIOD; }

static void reduce(char *x, size_t elems) { MPI_Allreduce(MPI_IN_PLACE, x, (int)elems, type, op, MPI_COMM_WORLD); }

static long long wrong_elements(char *x, size_t elems) {
  long long wrong = 0;
  for (size_t i = 0; i < elems; i += PERIOD) memcpy(x + i * itemBytes, own, run_at(i, elems) * itemBytes);
  reduce(x, elems);
  for (size_t i = 0; i < elems; i += PERIOD) {
    const size_t run = run_at(i, elems);
    if (memcmp(x + i * itemBytes, reduced, run * itemBytes) == 0) continue;
    for (size_t k = 0; k < run; k += 1)
      if (memcmp(x + (i + k) * itemBytes, reduced + k * itemBytes, itemBytes) != 0) wrong += 1;
  }
  memset(x, 0, elems * itemBytes);
  return wrong;
}

static void measure(size_t bytes, int warmUps, int iterations, int isAligned) {
  const size_t elems = bytes / itemBytes;
  char *x = malloc(bytes);
  double *samples = calloc(iterations, sizeof(double)), *all = calloc(iterations, sizeof(double));
  long long wrong = wrong_elements(x, elems), allWrong = 0;
  for (int i = -warmUps; i < iterations; i += 1) {
    if (i == (iterations + 1) / 2) wrong += wrong_elements(x, elems);
    if (isAligned) MPI_Barrier(MPI_COMM_WORLD);
    const double started = MPI_Wtime();
    reduce(x, elems);
    if (i >= 0) samples[i] = (MPI_Wtime() - started) * 1e6;
  }
  wrong += wrong_elements(x, elems);
  MPI_Reduce(samples, all, iterations, MPI_DOUBLE, isAligned ? MPI_MAX : MPI_SUM, 0, MPI_COMM_WORLD);
  MPI_Reduce(&wrong, &allWrong, 1, MPI_LONG_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
  if (rank == 0) {
    printf("{\"bytes\":%zu,\"wrong\":%lld,\"samplesUs\":[", bytes, allWrong);
    for (int i = 0; i < iterations; i += 1) printf("%s%.3f", i == 0 ? "" : ",", isAligned ? all[i] : all[i] / size);
    printf("]}\n");
    fflush(stdout);
  }
  free(x);
  free(samples);
  free(all);
}

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (argc < 4) MPI_Abort(MPI_COMM_WORLD, 2);
  type = !strcmp(argv[1], "float32") ? MPI_FLOAT : !strcmp(argv[1], "float64") ? MPI_DOUBLE : !strcmp(argv[1], "int32") ? MPI_INT32_T : MPI_INT64_T;
  op = !strcmp(argv[2], "sum") ? MPI_SUM : !strcmp(argv[2], "product") ? MPI_PROD : !strcmp(argv[2], "min") ? MPI_MIN : MPI_MAX;
  MPI_Type_size(type, &itemBytes);
  make_tiles();
  if (rank == 0) {
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length;
    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n\"\\")] = 0;
    printf("{\"version\":\"%s\"}\n", text);
  }
  for (int i = 3; i < argc; i += 1) {
    size_t bytes;
    int warmUps, iterations, isAligned;
    if (sscanf(argv[i], "%zu:%d:%d:%d", &bytes, &warmUps, &iterations, &isAligned) != 4) MPI_Abort(MPI_COMM_WORLD, 2);
    measure(bytes, warmUps, iterations, isAligned);
  }
  MPI_Finalize();
  return 0;
}
