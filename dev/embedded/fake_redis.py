"""fakeredis as a server of its own: ``python -m dev.embedded.fake_redis PORT``

The last resort where no Redis server can be had. Scripts and locks work; it is slow.
"""

from __future__ import annotations

import sys

from fakeredis import TcpFakeServer

from dev.embedded.ports import LOOPBACK


def main(port: int) -> None:
    TcpFakeServer((LOOPBACK, port), server_type="redis").serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
