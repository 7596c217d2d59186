"""llama.cpp's own HTTP server from the same wheel, as the peer: `python -m ... MODEL PORT THREADS SLOTS`."""

import signal
import sys

import xllamacpp


def parameters(model: str, port: int, threads: int, slots: int) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.port = port
    params.n_parallel = slots
    params.n_ctx = 2048 * slots
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.verbosity = 0
    return params


def main() -> None:
    model, port, threads, slots = sys.argv[1], *map(int, sys.argv[2:5])
    server = xllamacpp.Server(parameters(model, port, threads, slots))
    print(server.listening_address, flush=True)  # noqa: T201
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
