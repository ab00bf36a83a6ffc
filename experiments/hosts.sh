#!/usr/bin/env bash
# Two hosts on one Linux machine, to try what the README says of several hosts:
# bash experiments/hosts.sh ppo --env CartPole-v1
#
# Each host is a network namespace with an address, a name and an ssh server of its own; they reach each other over a
# virtual cable only. Needs root, iproute2, openssh-server and openssh-client; leaves nothing behind but the run.
set -euo pipefail
python=${PYTHON:-$(command -v python)}
for n in node1 node2; do
    [ ! -e /run/netns/$n ] || { echo "there is a network namespace $n already"; exit 1; }
done
folder=$(mktemp -d)
export UCX_TLS=tcp,self # else MPICH finds out that it is one machine, and uses its memory
on() { ip netns exec "$1" unshare --uts bash -c 'hostname "$0" && exec "$@"' "$@"; }
clean() {
    set +e
    pkill -f "sshd.*$folder"
    ip link delete to_node2 2> /dev/null
    ip netns delete node1
    ip netns delete node2
    rm -rf "$folder" /etc/netns/node1 /etc/netns/node2
}
trap clean EXIT

ip link add to_node2 type veth peer name to_node1
ssh-keygen -q -t ed25519 -N '' -f "$folder/key"
cat > "$folder/ssh" <<END
#!/bin/sh
exec ssh -q -i $folder/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "\$@"
END
chmod +x "$folder/ssh"
mkdir -p /run/sshd
for n in 1 2; do
    ip netns add node$n
    mkdir -p /etc/netns/node$n
    printf '127.0.0.1 localhost\n10.77.0.1 node1\n10.77.0.2 node2\n' > /etc/netns/node$n/hosts
    ip link set to_node$((3 - n)) netns node$n
    ip -n node$n address add 10.77.0.$n/24 dev to_node$((3 - n))
    ip -n node$n link set to_node$((3 - n)) up
    ip -n node$n link set lo up
    on node$n "$(command -v sshd)" -h "$folder/key" -o PidFile=none -o "AuthorizedKeysFile=$folder/key.pub" \
        -o StrictModes=no -o PermitRootLogin=yes
done

on node1 "$(dirname "$python")/mpiexec" -launcher-exec "$folder/ssh" -hosts node1,node2 -n 2 -ppn 1 \
    "$python" -c "import socket; from rlsuite.common import mpi; print(f'rank {mpi.rank} of {mpi.size} on {socket.gethostname()}', flush=True)"
on node1 "$(dirname "$python")/mpiexec" -launcher-exec "$folder/ssh" -hosts node1,node2 -n 2 -ppn 1 \
    "$python" -m rlsuite.run "$@"
ip -n node1 -s link show to_node2 | awk 'f == 1 { print "bytes that node1 received over the cable: " $1 } { f = ($1 == "RX:") }'
