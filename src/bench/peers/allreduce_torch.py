# torch.distributed's all_reduce over Gloo, in place, timed and verified as khorovod's own benchmark does it (src/bench/measure.ts).
#
#   RANK=r WORLD=n MEET=file python3 allreduce_torch.py DTYPE OP BYTES:WARM_UPS:ITERATIONS:ALIGNED...
#
# Rank 0 prints a line of JSON with the library's version, then one a size: bytes, samplesUs (of an aligned call the slowest rank's, else the mean over the ranks), wrong.
import json, os, sys, time
import torch, torch.distributed as dist

PERIOD = 251
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD"])
dtype = getattr(torch, sys.argv[1])
op = {"sum": dist.ReduceOp.SUM, "product": dist.ReduceOp.PRODUCT, "min": dist.ReduceOp.MIN, "max": dist.ReduceOp.MAX}[sys.argv[2]]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method="file://" + os.environ["MEET"], rank=rank, world_size=size)


def element(of, i):
    value = (i * 5 + of * 3) % 7
    return 1 + (value % 2 if sys.argv[2] == "product" else value)


def reduced(i):
    values = [element(of, i) for of in range(size)]
    if sys.argv[2] in ("min", "max"):
        return min(values) if sys.argv[2] == "min" else max(values)
    total = values[0]
    for value in values[1:]:
        total = total * value if sys.argv[2] == "product" else total + value
    return total


own = torch.tensor([element(rank, i) for i in range(PERIOD)], dtype=dtype)
expected = torch.tensor([reduced(i) for i in range(PERIOD)], dtype=dtype)


def wrong_elements(x):
    whole = len(x) // PERIOD * PERIOD
    rest = len(x) - whole
    x[:whole].view(-1, PERIOD).copy_(own)
    x[whole:].copy_(own[:rest])
    dist.all_reduce(x, op=op)
    wrong = int((x[:whole].view(-1, PERIOD) != expected).sum()) + int((x[whole:] != expected[:rest]).sum())
    x.zero_()
    return wrong


def measure(size_bytes, warm_ups, iterations, is_aligned):
    x = torch.empty(size_bytes // own.element_size(), dtype=dtype)
    samples = []
    wrong = wrong_elements(x)
    for i in range(-warm_ups, iterations):
        if i == (iterations + 1) // 2:
            wrong += wrong_elements(x)
        if is_aligned:
            dist.barrier()
        started = time.perf_counter()
        dist.all_reduce(x, op=op)
        if i >= 0:
            samples.append((time.perf_counter() - started) * 1e6)
    wrong += wrong_elements(x)
    together = torch.tensor(samples, dtype=torch.float64)
    dist.all_reduce(together, op=dist.ReduceOp.MAX if is_aligned else dist.ReduceOp.SUM)
    count = torch.tensor([wrong])
    dist.all_reduce(count)
    if rank == 0:
        found = [round(us if is_aligned else us / size, 3) for us in together.tolist()]
        print(json.dumps({"bytes": size_bytes, "wrong": int(count), "samplesUs": found}), flush=True)


if rank == 0:
    print(json.dumps({"version": "PyTorch " + torch.__version__}), flush=True)
for word in sys.argv[3:]:
    measure(*map(int, word.split(":")))
dist.barrier()
