"""The local model's own process: ``python -m somaagent.embedded.model_server --help``."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from somaagent.embedded import wheels

_SLOTS = 4
_TOKENS_EACH = 2048  # what the model was trained for
_HTTP_THREADS = 16
_WARNINGS = 2


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="Serve the local model over the OpenAI protocol.")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True, help="what clients call the model")
    parser.add_argument(
        "--key-file", type=Path, required=True, help="holds the API key that clients must send"
    )
    arguments = parser.parse_args()
    stop_signals = {signal.SIGTERM, signal.SIGINT}
    # Before the server's threads are made, so that these signals come to this one.
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    server = serve(arguments.host, arguments.port, arguments.name, arguments.key_file.read_text().strip())
    signal.sigwait(stop_signals)
    del server


def serve(host: str, port: int, name: str, key: str) -> object:
    """Load the model and answer on *host*:*port*. The server lives as long as what is returned."""
    import xllamacpp  # noqa: PLC0415 - the wheel is needed in this process alone

    if not key:
        raise SystemExit("The file of the API key is empty.")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(wheels.model())
    parameters.model_alias = {name}
    parameters.hostnames = [host]
    parameters.port = port
    parameters.api_keys = [key]
    parameters.n_parallel = _SLOTS
    parameters.n_ctx = _SLOTS * _TOKENS_EACH
    # One thread: with as many as there are cores, throughput collapses when anything else runs.
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.n_threads_http = _HTTP_THREADS
    parameters.n_gpu_layers = 0
    parameters.cache_ram_mib = 64
    parameters.endpoint_slots = False
    parameters.ui = False
    parameters.offline = True
    parameters.verbosity = _WARNINGS
    return xllamacpp.Server(parameters)


if __name__ == "__main__":
    main()
