"""Ceph's S3 gateway in memory: a real store that decides conditional writes under a lock.

One monitor, one manager, one disk, one gateway, all of this user and on the loopback
address. Ready after about 20 s.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.services import S3Endpoint, free_port, running, service, wait_for

_PACKAGES = ("ceph-mon", "ceph-osd", "ceph-mgr", "radosgw", "ceph-common")
_CONF = """\
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = {monitors}
keyring = {folder}/keys
# one disk, one copy
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_crush_chooseleaf_type = 0
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
mon_allow_pool_size_one = true
osd_objectstore = memstore
memstore_device_bytes = 4294967296
# without these an OSD never comes up on the loopback address
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
ms_bind_ipv6 = false
run_dir = {folder}
admin_socket = {folder}/$name.asok
pid_file = {folder}/$name.pid
log_file = {folder}/$name.log
crash_dir = {folder}/crash
mon_data = {folder}/mon$id
osd_data = {folder}/osd$id
mgr_data = {folder}/mgr$id
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port}
"""


@contextlib.contextmanager
def radosgw(folder: Path) -> Iterator[S3Endpoint]:
    """Ceph's gateway while the block runs, with the user `test`."""
    _install()
    port = free_port()
    conf = folder / "ceph.conf"
    for name in ("mona", "osd0", "mgrx", "crash"):
        (folder / name).mkdir()
    monitors = f"[v2:127.0.0.1:{free_port()},v1:127.0.0.1:{free_port()}]"
    fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
    conf.write_text(_CONF.format(fsid=fsid, monitors=monitors, folder=folder, port=port))
    keys, monmap = str(folder / "keys"), str(folder / "monmap")
    common = ["-c", str(conf)]
    # As root the daemons would change to the user `ceph`, who may not write here.
    daemon = [*common, "--setuser", "root", "--setgroup", "root"] if os.getuid() == 0 else common
    _run(
        "ceph-authtool",
        keys,
        "--create-keyring",
        "--gen-key",
        "-n",
        "mon.",
        "--cap",
        "mon",
        "allow *",
    )
    for name in ("client.admin", "client.rgw", "osd.0", "mgr.x"):
        caps = [word for part in ("mon", "osd", "mgr") for word in ("--cap", part, "allow *")]
        _run("ceph-authtool", keys, "--gen-key", "-n", name, *caps)
    _run("monmaptool", "--create", "--clobber", "--addv", "a", monitors, "--fsid", fsid, monmap)
    _run("ceph-mon", *common, "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keys)
    with contextlib.ExitStack() as stack:

        def start(name: str, which: str) -> None:
            stack.enter_context(running([name, "-f", "-i", which, *daemon], folder / f"{name}.out"))

        start("ceph-mon", "a")
        _run("ceph", *common, "mon", "enable-msgr2")
        start("ceph-mgr", "x")
        _run("ceph", *common, "osd", "new", osd)
        _run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd, *daemon)
        start("ceph-osd", "0")
        wait_for("ceph-osd", lambda: " 1 up" in _run("ceph", *common, "osd", "stat"))
        user = ["--uid=test", "--display-name=test", "--access-key=test", "--secret-key=testtest"]
        _run("radosgw-admin", *common, "-n", "client.rgw", "user", "create", *user)
        command = ["radosgw", "-f", "-n", "client.rgw", *daemon]
        stack.enter_context(service("radosgw", command, port, folder / "radosgw.out"))
        yield S3Endpoint.on(port)


def _install() -> None:
    if all(shutil.which(name) for name in ("ceph-mon", "ceph-osd", "ceph-mgr", "radosgw")):
        return
    if os.getuid() != 0:
        raise RuntimeError(f"Ceph's gateway is missing: install {' '.join(_PACKAGES)}")
    _run("apt-get", "-qq", "update", timeout_s=300)
    _run("apt-get", "-qq", "install", "-y", "--no-install-recommends", *_PACKAGES, timeout_s=900)


def _run(*command: str, timeout_s: float = 90) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}")
    return done.stdout
