/*
 * Gloo's own ring_chunked allreduce (which works in place), timed and verified as khorovod's own benchmark does it (src/bench/measure.ts).
 *
 *   RANK=r WORLD=n MEET=folder allreduce_gloo DTYPE OP BYTES:WARM_UPS:ITERATIONS:ALIGNED...
 *
 * Rank 0 prints one line of JSON a size: bytes, samplesUs (of an aligned call the slowest rank's, else the mean over the ranks), wrong.
 */
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <gloo/allreduce_ring_chunked.h>
#include <gloo/barrier.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

namespace {

constexpr int period = 251;
int rank_, size_;
std::string op;
std::shared_ptr<gloo::rendezvous::Context> context;

int element(int of, int i) {
  const int value = (i * 5 + of * 3) % 7;
  return 1 + (op == "product" ? value % 2 : value);
}

template <typename T>
const gloo::ReductionFunction<T>* reduction() {
  if (op == "product") return gloo::ReductionFunction<T>::product;
  if (op == "min") return gloo::ReductionFunction<T>::min;
  if (op == "max") return gloo::ReductionFunction<T>::max;
  return gloo::ReductionFunction<T>::sum;
}

template <typename T>
void reduce(std::vector<T>& x, const gloo::ReductionFunction<T>* how) {
  gloo::AllreduceRingChunked<T>(context, {x.data()}, static_cast<int>(x.size()), how).run();
}

template <typename T>
struct Measurement {
  std::vector<T> x;
  gloo::AllreduceRingChunked<T> allreduce;

  explicit Measurement(size_t elems) : x(elems), allreduce(context, {x.data()}, static_cast<int>(elems), reduction<T>()) {}

  long long wrongElements() {
    std::vector<T> own(period), expected(period);
    for (int i = 0; i < period; i += 1) {
      own[i] = static_cast<T>(element(rank_, i));
      double all = element(0, i);
      for (int other = 1; other < size_; other += 1) {
        const double next = element(other, i);
        if (op == "sum") all += next;
        else if (op == "product") all *= next;
        else if (op == "min" ? next < all : next > all) all = next;
      }
      expected[i] = static_cast<T>(all);
    }
    for (size_t i = 0; i < x.size(); i += 1) x[i] = own[i % period];
    allreduce.run();
    long long wrong = 0;
    for (size_t i = 0; i < x.size(); i += 1) wrong += x[i] != expected[i % period];
    std::fill(x.begin(), x.end(), T(0));
    return wrong;
  }

  void run(int warmUps, int iterations, bool isAligned) {
    std::vector<double> samples(iterations);
    std::vector<double> count{static_cast<double>(wrongElements())};
    for (int i = -warmUps; i < iterations; i += 1) {
      if (i == (iterations + 1) / 2) count[0] += wrongElements();
      if (isAligned) {
        gloo::BarrierOptions barrier(context);
        gloo::barrier(barrier);
      }
      const auto started = std::chrono::steady_clock::now();
      allreduce.run();
      if (i >= 0) samples[i] = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - started).count();
    }
    count[0] += wrongElements();
    reduce(samples, isAligned ? gloo::ReductionFunction<double>::max : gloo::ReductionFunction<double>::sum);
    reduce(count, gloo::ReductionFunction<double>::sum);
    if (rank_ != 0) return;
    printf("{\"bytes\":%zu,\"wrong\":%.0f,\"samplesUs\":[", x.size() * sizeof(T), count[0]);
    for (int i = 0; i < iterations; i += 1) printf("%s%.3f", i == 0 ? "" : ",", isAligned ? samples[i] : samples[i] / size_);
    printf("]}\n");
    fflush(stdout);
  }
};

template <typename T>
void measureAll(int argc, char** argv) {
  for (int i = 3; i < argc; i += 1) {
    size_t bytes;
    int warmUps, iterations, isAligned;
    if (sscanf(argv[i], "%zu:%d:%d:%d", &bytes, &warmUps, &iterations, &isAligned) != 4) exit(2);
    Measurement<T>(bytes / sizeof(T)).run(warmUps, iterations, isAligned != 0);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  rank_ = atoi(getenv("RANK"));
  size_ = atoi(getenv("WORLD"));
  op = argv[2];
  gloo::transport::tcp::attr attributes;
  attributes.iface = "lo";
  auto device = gloo::transport::tcp::CreateDevice(attributes);
  gloo::rendezvous::FileStore store(getenv("MEET"));
  context = std::make_shared<gloo::rendezvous::Context>(rank_, size_);
  context->connectFullMesh(store, device);
  const std::string dtype = argv[1];
  if (dtype == "float32") measureAll<float>(argc, argv);
  else if (dtype == "float64") measureAll<double>(argc, argv);
  else if (dtype == "int32") measureAll<int32_t>(argc, argv);
  else measureAll<int64_t>(argc, argv);
  gloo::BarrierOptions barrier(context);
  gloo::barrier(barrier);
  return 0;
}
