import JSON
import Kernel

/// One thing that a node wants of its machine.
struct CheckFinding: Equatable {
  enum State: String { case ok, limited, missing }
  var subject: String
  var state: State
  /// What was found.
  var detail: String
  /// What to do about it.
  var remedy: String?

  /// For programs.
  var value: JSONValue {
    var object: JSONObject = [
      "what": .string(subject), "state": .string(state.rawValue), "detail": .string(detail),
    ]
    if let remedy, state != .ok { object["remedy"] = .string(remedy) }
    return .object(object)
  }

  private init(_ subject: String, _ state: State, _ detail: String, _ remedy: String?) {
    (self.subject, self.state, self.detail, self.remedy) = (subject, state, detail, remedy)
  }

  /// All findings, the most fundamental first. Pure.
  static func all(of host: HostFeatures, networkRefusals: [String]) -> [CheckFinding] {
    [
      kernel(host), privilege(host), cgroups(host), overlay(host), namespaces(host), network(host, networkRefusals),
      forwarding(host), seccomp(host), openFiles(host), score(host), modules(host), swap(host), ports(host),
    ]
  }

  /// New mount calls with overlay layers by descriptor, mount_setattr, clone3 into a cgroup.
  private static let oldestKernel = [5, 12]

  private static func kernel(_ host: HostFeatures) -> CheckFinding {
    let enough = !host.releaseNumbers.lexicographicallyPrecedes(oldestKernel)
    return CheckFinding("kernel", enough ? .ok : .missing, host.release, "run Linux 5.12 or newer")
  }

  private static func privilege(_ host: HostFeatures) -> CheckFinding {
    guard host.isRoot else {
      return CheckFinding(
        "root", .limited, "not root, so links and rules were not tried", "run it as a node runs: sudo martlet check")
    }
    let needed = [
      "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_MKNOD", "CAP_SETUID", "CAP_SETGID", "CAP_CHOWN",
      "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SYS_CHROOT", "CAP_SETPCAP",
    ]
    let lacking = needed.filter { name in
      Capabilities.number(name).map { host.capabilities & (1 << UInt64($0)) == 0 } ?? false
    }
    return CheckFinding(
      "root", lacking.isEmpty ? .ok : .missing,
      lacking.isEmpty ? "all capabilities a node uses" : lacking.joined(separator: " ") + " missing",
      "give these capabilities to the container or service that this runs in")
  }

  private static func cgroups(_ host: HostFeatures) -> CheckFinding {
    guard let mountPoint = host.cgroup2MountPoint else {
      return CheckFinding(
        "cgroup v2", .missing, "not mounted", "mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    }
    let lacking = ["cpu", "memory", "pids", "io", "cpuset"].filter { !host.cgroup2Controllers.contains($0) }
    guard !lacking.isEmpty else { return CheckFinding("cgroup v2", .ok, mountPoint, nil) }
    return CheckFinding(
      "cgroup v2", .limited,
      "\(mountPoint) without \(lacking.joined(separator: ", ")): such limits of pods do not hold",
      "give the controllers to cgroup v2: boot with systemd.unified_cgroup_hierarchy=1 or cgroup_no_v1=all")
  }

  private static func overlay(_ host: HostFeatures) -> CheckFinding {
    let has = host.fileSystems.contains("overlay")
    return CheckFinding(
      "overlayfs", has ? .ok : .limited, has ? "there" : "not loaded yet",
      "load it: modprobe overlay; without it no image can be mounted")
  }

  private static func namespaces(_ host: HostFeatures) -> CheckFinding {
    let lacking = ["mnt", "pid", "net", "ipc", "uts", "cgroup"].filter { !host.namespaces.contains($0) }
    if !lacking.isEmpty {
      return CheckFinding(
        "namespaces", .missing, "none of kind \(lacking.joined(separator: ", "))", "run a kernel that has them")
    }
    return host.namespaces.contains("user")
      ? CheckFinding("namespaces", .ok, "all kinds", nil)
      : CheckFinding(
        "namespaces", .limited, "no user namespaces: pods with hostUsers false are refused",
        "run a kernel with CONFIG_USER_NS")
  }

  private static func network(_ host: HostFeatures, _ refusals: [String]) -> CheckFinding {
    if !refusals.isEmpty {
      return CheckFinding(
        "links and rules", .missing, refusals.joined(separator: "; "),
        "load them: modprobe -a veth nf_tables nft_chain_nat nft_masq nf_conntrack")
    }
    return CheckFinding(
      "links and rules", host.isRoot ? .ok : .limited, host.isRoot ? "a link pair and an nftables table" : "not tried",
      "run it as root")
  }

  private static func forwarding(_ host: HostFeatures) -> CheckFinding {
    let families = [(host.forwardsIPv4, "IPv4"), (host.forwardsIPv6 || !host.hasIPv6, "IPv6")]
    let closed = families.filter { !$0.0 }.map(\.1)
    return CheckFinding(
      "forwarding", .ok,
      closed.isEmpty ? "on" : "off for \(closed.joined(separator: ", ")); martletd turns it on as it starts", nil)
  }

  private static func seccomp(_ host: HostFeatures) -> CheckFinding {
    let has = host.seccompActions.isSuperset(of: ["errno", "allow"])
    return CheckFinding(
      "seccomp", has ? .ok : .missing, has ? "filters" : "no filters", "run a kernel with CONFIG_SECCOMP_FILTER")
  }

  /// A pod takes a handful of descriptors of the daemon; below this, a hundred pods get near the bound.
  private static let openFilesWanted = 65_536

  private static func openFiles(_ host: HostFeatures) -> CheckFinding {
    let enough = host.openFilesMax >= openFilesWanted
    return CheckFinding(
      "open files", enough ? .ok : .limited, "at most \(host.openFilesMax) a process",
      "raise it: LimitNOFILE=1048576 in the unit, or ulimit -Hn")
  }

  private static func score(_ host: HostFeatures) -> CheckFinding {
    let may = Capabilities.number("CAP_SYS_RESOURCE").map { host.capabilities & (1 << UInt64($0)) != 0 } ?? false
    return CheckFinding(
      "oom_score_adj", may ? .ok : .limited,
      may ? "can be lowered" : "cannot be lowered: guaranteed pods rank as others",
      "give CAP_SYS_RESOURCE")
  }

  private static func modules(_ host: HostFeatures) -> CheckFinding {
    let names = [(host.hasAppArmor, "AppArmor"), (host.hasSELinux, "SELinux")].filter(\.0).map(\.1)
    return CheckFinding(
      "security modules", .ok,
      names.isEmpty ? "neither AppArmor nor SELinux: profiles of pods are refused" : names.joined(separator: ", "), nil)
  }

  private static func swap(_ host: HostFeatures) -> CheckFinding {
    // tmpfs learnt `noswap` with 6.4.
    let keepsOut = !host.hasSwap || !host.releaseNumbers.lexicographicallyPrecedes([6, 4])
    return CheckFinding(
      "swap", keepsOut ? .ok : .limited,
      host.hasSwap ? (keepsOut ? "on; secrets stay out of it" : "on; secrets of pods may be written to it") : "off",
      "turn it off (swapoff -a) or run Linux 6.4")
  }

  /// What a one-machine cluster listens on, and who.
  private static let listened: [(port: UInt16, who: String)] = [(6443, "API server"), (10250, "node agent")]

  private static func ports(_ host: HostFeatures) -> CheckFinding {
    let taken = listened.filter { host.listeningPorts.contains($0.port) }
    let names = taken.map { "\($0.port) (\($0.who))" }.joined(separator: ", ")
    return CheckFinding(
      "ports", taken.isEmpty ? .ok : .limited, taken.isEmpty ? "6443 and 10250 are free" : "in use: \(names)",
      "stop what listens there, unless it is Martlet, or choose others: martlet up --help")
  }
}
