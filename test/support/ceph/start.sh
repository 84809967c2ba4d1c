#!/bin/bash
# One Ceph of mon, osd (in a sparse file: what it has acknowledged survives kill -9) and radosgw, all on
# 127.0.0.1, made anew in DIR.
# usage: start.sh DIR S3PORT BASEPORT      mon at BASEPORT and the next, osd at BASEPORT+10 to +90
set -euo pipefail
D=$(realpath -m "${1:?dir}"); S3=${2:?port}; BP=${3:?port}
mkdir -p "$D"/{run,log,mon,osd0}; cd "$D"
FSID=$(cat /proc/sys/kernel/random/uuid)
# cephx: without it radosgw never connects. tcp_nodelay: without it every GET takes 45 ms.
cat > ceph.conf <<CFG
[global]
fsid = $FSID
mon host = [v2:127.0.0.1:$BP/0,v1:127.0.0.1:$((BP+1))/0]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = $D/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail crit = 1
mon data avail warn = 1
mon max pg per osd = 1000
run dir = $D/run
admin socket = $D/run/\$cluster-\$name.asok
pid file = $D/run/\$name.pid
log file = $D/log/\$name.log
log flush on exit = false
debug ms = 0
ms bind port min = $((BP+10))
ms bind port max = $((BP+90))
[mon]
mon data = $D/mon
[osd]
osd data = $D/osd\$id
osd objectstore = bluestore
bluestore block size = $((8<<30))
bluestore block create = true
bluestore fsck on mkfs = false
bluestore cache autotune = false
bluestore cache size = $((128<<20))
osd class update on start = false
[client]
rgw frontends = beast endpoint=127.0.0.1:$S3 tcp_nodelay=1
rgw thread pool size = 32
rgw enable usage log = false
rgw lc debug interval = -1
rgw dynamic resharding = false
rgw dns name = s3.test
rgw max listing results = 100
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = test-key=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
CFG
export CEPH_CONF=$D/ceph.conf
monmaptool --create --clobber --addv a "[v2:127.0.0.1:$BP,v1:127.0.0.1:$((BP+1))]" --fsid "$FSID" monmap >/dev/null
: > keyring; ceph-authtool -C keyring -n mon. --gen-key --cap mon 'allow *' >/dev/null
ceph-authtool keyring -n client.admin --gen-key --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' >/dev/null
ceph-authtool keyring -n osd.0 --gen-key --cap mon 'allow profile osd' --cap mgr 'allow profile osd' --cap osd 'allow *' >/dev/null
ceph-authtool keyring -n client.rgw --gen-key --cap mon 'allow rw' --cap osd 'allow rwx' --cap mgr 'allow rw' >/dev/null
ceph-mon -c ceph.conf -i a --mkfs --monmap monmap --keyring keyring
ceph-mon -c ceph.conf -i a
U=$(cat /proc/sys/kernel/random/uuid)
timeout 60 ceph -c ceph.conf osd new "$U" 0 >/dev/null 2>&1
ceph-osd -c ceph.conf -i 0 --mkfs --osd-uuid "$U" --no-mon-config >"$D/log/mkfs.log" 2>&1
timeout 60 ceph -c ceph.conf osd crush add osd.0 1.0 root=default host=h0 >/dev/null 2>&1
ceph-osd -c ceph.conf -i 0 >/dev/null 2>&1
for _ in $(seq 100); do ceph -c ceph.conf osd stat 2>/dev/null | grep -q "1 up" && break; sleep 0.2; done
radosgw -c ceph.conf -n client.rgw
for _ in $(seq 300); do (exec 3<>"/dev/tcp/127.0.0.1/$S3") 2>/dev/null && break; sleep 0.2; done
timeout 60 radosgw-admin -c ceph.conf --no-mon-config user create --uid=test --display-name=test --access-key=TESTACCESSKEY0000001 --secret-key=testsecretkey0000000000000000000000000000 >/dev/null 2>"$D/log/radosgw-admin.log"
