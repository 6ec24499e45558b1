# shellcheck shell=bash
# For demos: a network namespace with nothing but loopback, directories and a control group of its own, the programs that
# are started in it, and the search for whatever is left of them. Sourced with `say` defined and MARTLET_BIN set; `remove`
# runs on every way out. Nothing is touched that was not made here.

name=mt-demo-$$
work=$(mktemp --directory "/tmp/$name.XXXXXX")
cgroups=$(findmnt --noheadings --types cgroup2 --output TARGET | head -n 1)
daemons=()
begun=$SECONDS

fail() {
  echo "hack/${0##*/}: $*" >&2
  exit 1
}

# --- in the namespace ----------------------------------------------------------------------------------------------

# Only the network is another one: mounts are made where all of us see them.
inside() { nsenter --net="/run/netns/$name" "$@"; }
martlet() { inside "$MARTLET_BIN/martlet" --run "$work/run" "$@"; }

start() { # start NAME COMMAND…: in the background, with a log
  local log=$work/$1.log
  shift
  # No function call: the number shall be the program's own, not that of a shell that waits for it.
  nsenter --net="/run/netns/$name" "$@" >"$log" 2>&1 &
  daemons+=($!)
}

wait_for() { # wait_for SECONDS WHAT COMMAND…
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$end" ]; then
      tail -n 20 "$work"/*.log "$work"/run/logs/*.log >&2 2>/dev/null || true
      fail "no $what in time; the ends of the logs are above"
    fi
    sleep 0.05
  done
}

# --- what is there, of ours and of the machine's ------------------------------------------------------------------

# Things of this machine that the demo must leave exactly as they were.
machine() {
  ip -oneline link show | cut -d ' ' -f 2
  nft list tables 2>/dev/null
  ls /var/lib/martlet /run/martlet /etc/martlet /var/log/pods 2>/dev/null || true
}

# Things of ours that outlive nothing: one line each.
ours() {
  local process
  for process in /proc/[0-9]*; do
    [ "${process#/proc/}" != $$ ] || continue
    if grep -qs "$name" "$process/cgroup" || tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -q "$work"; then
      echo "process ${process#/proc/}: $(tr '\0' ' ' <"$process/cmdline" 2>/dev/null)"
    fi
  done 2>/dev/null
  { grep "$work" /proc/self/mountinfo || true; } | cut -d ' ' -f 5 | sed 's/^/mount /'
  find "$cgroups" -maxdepth 1 -name "$name*" -printf 'cgroup %p\n'
  # The node's own pair of links, its route and its empty tables stay for the next daemon and go with the namespace.
  if [ -e "/run/netns/$name" ]; then
    inside ip -oneline link show | cut -d ' ' -f 2 | grep -Ev '^(lo|martlet[01]@.*):' | sed 's/^/link /' || true
    inside ip route show table all | grep -E '\bmlt' | sed 's/^/route /' || true
    inside nft list ruleset | grep -E '10\.(96|87)(\.[0-9]+){2}([^/0-9]|$)' | sed 's/^ */rule /' || true
  fi
  # Of images, containers, volumes and pods; the daemons' own directories and lock files are no trace of them.
  find "$work"/root/{layers,images,containers,volumes} "$work"/run/{pods,netns} "$work/logs" -mindepth 1 \
    -not -name lock -not -path "$work/root/images/*" -printf 'file %p\n' 2>/dev/null || true
  find "$work/root/images" -type f -not -name lock -printf 'file %p\n' 2>/dev/null || true
}

stop_daemons() {
  local daemon turn
  for ((turn = ${#daemons[@]} - 1; turn >= 0; turn--)); do
    daemon=${daemons[turn]}
    kill -TERM "$daemon" 2>/dev/null || continue
    (sleep 15 && kill -KILL "$daemon") 2>/dev/null &
    wait "$daemon" 2>/dev/null || true
    # At once: as a copy of this shell it has our traps until it has begun.
    kill -KILL $! 2>/dev/null || true
  done
  daemons=()
}

# On every way out, also where something failed: whatever is ours goes.
# shellcheck disable=SC2317 # run by the trap
remove() {
  set +e
  stop_daemons
  find "$cgroups" -maxdepth 1 -name "$name*" -exec sh -c 'echo 1 >"$0/cgroup.kill"' {} \;
  { grep "$work" /proc/self/mountinfo || true; } | cut -d ' ' -f 5 | sort --reverse |
    xargs --no-run-if-empty -n 1 umount --lazy
  find "$cgroups" -mindepth 1 -depth -type d -path "$cgroups/$name*" -exec rmdir {} +
  ip netns delete "$name" 2>/dev/null
  rm -rf --one-file-system "$work"
}
trap remove EXIT
trap 'exit 130' INT TERM

machine >"$work/before"

# make_node: the namespace, the directories, a registry on loopback and the runtime's configuration.
make_node() {
  ip netns add "$name"
  inside ip link set lo up
  mkdir -p "$work"/{root,run,registry,manifests,logs} "$work/certs.d/127.0.0.1:5000"
  cat >"$work/registry.yml" <<REGISTRY
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: 127.0.0.1:5000}
REGISTRY
  echo 'server = "http://127.0.0.1:5000"' >"$work/certs.d/127.0.0.1:5000/hosts.toml"
  cat >"$work/config.toml" <<CONFIG
version = 1
missing-controllers = "warn"
cgroup-parent = "$name"
[images]
hosts-directory = "$work/certs.d"
CONFIG
  start registry docker-registry serve "$work/registry.yml"
  wait_for 20 "registry" inside curl --silent --fail http://127.0.0.1:5000/v2/
}

# push LAYOUT NAME:TAG: into the registry.
push() { inside skopeo --insecure-policy copy --quiet --dest-tls-verify=false "oci:$1:latest" "docker://127.0.0.1:5000/$2"; }

# nothing_left: fails with what is.
nothing_left() {
  local left turn
  # What has ended stays in the process table until the machine's first process reaps it.
  for ((turn = 0; turn < 50; turn++)); do
    left=$(ours)
    [ -n "$left" ] || break
    sleep 0.1
  done
  if [ -n "$left" ]; then
    printf '%s\n' "$left" >&2
    fail "the lines above are left over"
  fi
  machine | diff "$work/before" - || fail "the machine is not as it was: < before, > after"
  remove
  trap - EXIT
  [ ! -e "$work" ] && [ ! -e "/run/netns/$name" ] && [ -z "$(find "$cgroups" -maxdepth 1 -name "$name*")" ]
  echo "no process, mount, namespace, link, cgroup, rule or file; $((SECONDS - begun)) s"
}
