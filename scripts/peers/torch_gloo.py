# allreduce by PyTorch's Gloo: prints "bytes median_us" per size. Arguments: sizes in bytes. RANK, WORLD, RENDEZVOUS_FILE from the environment.
import os, sys, time
import torch, torch.distributed as dist

dist.init_process_group("gloo", init_method="file://" + os.environ["RENDEZVOUS_FILE"], rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD"]))
torch.set_num_threads(1)
rank, size = dist.get_rank(), dist.get_world_size()
for size_bytes in map(int, sys.argv[1:]):
    x = torch.full((size_bytes // 4,), float(rank + 1))
    dist.all_reduce(x)
    assert bool((x == size * (size + 1) / 2).all()), "wrong result"
    x.zero_()
    iterations = 2000 if size_bytes <= 65536 else 100 if size_bytes <= 1 << 20 else 15
    samples = []
    warm_ups = 2 * iterations if size_bytes <= 65536 else max(2, iterations // 2)
    for i in range(-warm_ups, iterations):
        if size_bytes > 65536:
            dist.barrier()
        started = time.perf_counter()
        dist.all_reduce(x)
        if i >= 0:
            samples.append((time.perf_counter() - started) * 1e6)
    if rank == 0:
        print(size_bytes, sorted(samples)[len(samples) // 2], flush=True)
dist.barrier()
