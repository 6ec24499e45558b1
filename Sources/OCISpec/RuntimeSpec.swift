/// An OCI runtime-spec 1.2 configuration (`config.json`), the parts that Linux containers have.
///
/// Every container goes through this value: bundles decode to it, and CRI requests are translated to it, so that both
/// mean the same. `RuntimeSpec.init(json:)` refuses by name what the specification knows and Martlet does not do.
package struct RuntimeSpec: Hashable, Sendable {
  package var ociVersion = "1.2.0"
  package var root = Root()
  package var hostname = ""
  package var domainname = ""
  package var process = Process()
  package var mounts: [Mount] = []
  package var annotations: [String: String] = [:]
  package var linux = Linux()

  package init() {}

  package struct Root: Hashable, Sendable {
    /// As written: relative to the bundle, or absolute.
    package var path = "rootfs"
    package var readonly = false

    package init() {}
  }

  package struct Mount: Hashable, Sendable {
    /// Absolute path inside the container.
    package var destination: String
    /// A file system's name, or "bind".
    package var type: String
    /// Absolute host path for bind mounts.
    package var source: String
    /// As mount(8) and the specification name them: "ro", "nosuid", "rbind", "rslave", "size=64m", …
    package var options: [String]
    /// Ids of the mount's files as the container sees them, for a mount that maps them; "idmap" and "ridmap" among the
    /// options stand for the container's own mappings.
    package var uidMappings: [IDMapping] = []
    package var gidMappings: [IDMapping] = []
    /// A part of what is mounted, by a path in it that is never followed outside; empty is the whole. Not a member of
    /// `config.json`: volumes of images have it.
    package var subPath = ""

    package init(destination: String, type: String, source: String, options: [String] = []) {
      self.destination = destination
      self.type = type
      self.source = source
      self.options = options
    }
  }
}

extension RuntimeSpec {
  /// `size` ids from `containerID` on are those from `hostID` on to the host.
  package struct IDMapping: Hashable, Sendable {
    package var containerID: UInt32
    package var hostID: UInt32
    package var size: UInt32

    package init(containerID: UInt32, hostID: UInt32, size: UInt32) {
      self.containerID = containerID
      self.hostID = hostID
      self.size = size
    }
  }
}

extension [RuntimeSpec.IDMapping] {
  /// The host's number of an id of the container's, or nil where it has none.
  package func hostID(of id: UInt32) -> UInt32? {
    for mapping in self where id >= mapping.containerID && id - mapping.containerID < mapping.size {
      return mapping.hostID &+ (id - mapping.containerID)
    }
    return nil
  }
}

extension RuntimeSpec {
  package struct Process: Hashable, Sendable {
    package var terminal = false
    package var consoleRows: UInt16 = 0
    package var consoleColumns: UInt16 = 0
    package var user = User()
    package var arguments: [String] = []
    /// NAME=VALUE
    package var environment: [String] = []
    /// Absolute path inside the container.
    package var workingDirectory = "/"
    package var capabilities = CapabilitySets()
    package var resourceLimits: [ResourceLimit] = []
    package var noNewPrivileges = false
    /// Name of a profile that the kernel has loaded; empty is none.
    package var apparmorProfile = ""
    /// As "system_u:system_r:container_t:s0:c1,c2"; empty is none.
    package var selinuxLabel = ""
    /// -1000…1000; nil leaves what the shim has.
    package var oomScoreAdjust: Int?

    package init() {}
  }

  package struct User: Hashable, Sendable {
    package var uid: UInt32 = 0
    package var gid: UInt32 = 0
    package var additionalGroups: [UInt32] = []
    /// 0o022 where nil.
    package var umask: UInt32?

    package init(uid: UInt32 = 0, gid: UInt32 = 0, additionalGroups: [UInt32] = []) {
      self.uid = uid
      self.gid = gid
      self.additionalGroups = additionalGroups
    }
  }

  /// Capabilities by name, such as "CAP_CHOWN".
  package struct CapabilitySets: Hashable, Sendable {
    package var bounding: [String] = []
    package var effective: [String] = []
    package var permitted: [String] = []
    /// Given only where they are ambient as well: otherwise no process of Martlet's has any (CVE-2022-24769).
    package var inheritable: [String] = []
    package var ambient: [String] = []

    package init() {}

    /// The same bounding, effective and permitted set.
    package init(all names: [String]) {
      bounding = names
      effective = names
      permitted = names
    }
  }

  package struct ResourceLimit: Hashable, Sendable {
    /// As "RLIMIT_NOFILE".
    package var type: String
    package var soft: UInt64
    package var hard: UInt64

    package init(type: String, soft: UInt64, hard: UInt64) {
      self.type = type
      self.soft = soft
      self.hard = hard
    }
  }
}

extension RuntimeSpec {
  package struct Linux: Hashable, Sendable {
    /// Which namespaces the container has of its own or joins. Kinds that are absent are the runtime's.
    package var namespaces: [Namespace] = []
    package var devices: [Device] = []
    package var deviceRules: [DeviceRule] = []
    package var sysctls: [String: String] = [:]
    package var maskedPaths: [String] = []
    package var readonlyPaths: [String] = []
    package var seccomp: Seccomp?
    /// "", "private", "slave", "shared", "unbindable" and their r-forms.
    package var rootfsPropagation = ""
    package var cgroupsPath = ""
    /// Of the user namespace, where `namespaces` has one.
    package var uidMappings: [IDMapping] = []
    package var gidMappings: [IDMapping] = []
    /// SELinux label of the container's own file systems; empty is none.
    package var mountLabel = ""
    package var resources = Resources()

    package init() {}
  }

  package struct Namespace: Hashable, Sendable {
    package enum Kind: String, Hashable, Sendable, CaseIterable {
      case pid, network, mount, ipc, uts, user, cgroup, time
    }
    package var kind: Kind
    /// Joined where given, otherwise new.
    package var path: String?

    package init(_ kind: Kind, path: String? = nil) {
      self.kind = kind
      self.path = path
    }
  }

  /// A device node to make.
  package struct Device: Hashable, Sendable {
    package enum Kind: String, Hashable, Sendable { case character = "c", block = "b", fifo = "p" }
    package var kind: Kind
    /// Absolute path inside the container.
    package var path: String
    package var major: UInt32
    package var minor: UInt32
    package var mode: UInt32
    package var uid: UInt32
    package var gid: UInt32

    package init(
      kind: Kind, path: String, major: UInt32, minor: UInt32, mode: UInt32 = 0o666, uid: UInt32 = 0, gid: UInt32 = 0
    ) {
      self.kind = kind
      self.path = path
      self.major = major
      self.minor = minor
      self.mode = mode
      self.uid = uid
      self.gid = gid
    }
  }

  /// Which devices may be used, later rules over earlier ones (`linux.resources.devices`).
  package struct DeviceRule: Hashable, Sendable {
    package enum Kind: String, Hashable, Sendable { case all = "a", character = "c", block = "b" }
    package var allow: Bool
    package var kind: Kind
    /// nil is every one.
    package var major: UInt32?
    package var minor: UInt32?
    package var read: Bool
    package var write: Bool
    package var makeNode: Bool

    package init(
      allow: Bool, kind: Kind = .all, major: UInt32? = nil, minor: UInt32? = nil, access: String = "rwm"
    ) {
      self.allow = allow
      self.kind = kind
      self.major = major
      self.minor = minor
      read = access.contains("r")
      write = access.contains("w")
      makeNode = access.contains("m")
    }
  }

  /// Limits of `linux.resources` that a cgroup v2 has a file for. nil is not set.
  package struct Resources: Hashable, Sendable {
    /// Bytes; -1 is no limit. Swap counts memory and swap together, as OCI does.
    package var memoryLimitBytes: Int64?
    package var memoryReservationBytes: Int64?
    package var memorySwapBytes: Int64?
    /// cgroup v1 shares, 2…262144.
    package var cpuShares: UInt64?
    /// Microseconds per period; -1 is no limit.
    package var cpuQuotaMicroseconds: Int64?
    package var cpuPeriodMicroseconds: UInt64?
    package var cpuBurstMicroseconds: UInt64?
    package var cpus: String?
    package var memoryNodes: String?
    /// -1 or 0 is no limit.
    package var pidsLimit: Int64?
    /// Page size, as "2MB", to bytes.
    package var hugepageLimitBytes: [String: UInt64] = [:]
    /// cgroup v2 file name to value.
    package var unified: [String: String] = [:]
    package var blockIOWeight: UInt16?

    package init() {}
  }
}

extension RuntimeSpec {
  /// What system calls may be made, by name.
  package struct Seccomp: Hashable, Sendable {
    package enum Action: String, Hashable, Sendable {
      case kill = "SCMP_ACT_KILL"
      case killThread = "SCMP_ACT_KILL_THREAD"
      case killProcess = "SCMP_ACT_KILL_PROCESS"
      case trap = "SCMP_ACT_TRAP"
      case error = "SCMP_ACT_ERRNO"
      case trace = "SCMP_ACT_TRACE"
      case allow = "SCMP_ACT_ALLOW"
      case log = "SCMP_ACT_LOG"
    }
    package enum Operator: String, Hashable, Sendable {
      case notEqual = "SCMP_CMP_NE"
      case less = "SCMP_CMP_LT"
      case lessOrEqual = "SCMP_CMP_LE"
      case equal = "SCMP_CMP_EQ"
      case greaterOrEqual = "SCMP_CMP_GE"
      case greater = "SCMP_CMP_GT"
      case maskedEqual = "SCMP_CMP_MASKED_EQ"
    }
    package struct Argument: Hashable, Sendable {
      package var index: UInt32
      package var value: UInt64
      package var valueTwo: UInt64
      package var comparison: Operator

      package init(index: UInt32, value: UInt64, valueTwo: UInt64 = 0, comparison: Operator) {
        self.index = index
        self.value = value
        self.valueTwo = valueTwo
        self.comparison = comparison
      }
    }
    package struct Rule: Hashable, Sendable {
      package var names: [String]
      package var action: Action
      package var errno: UInt32?
      package var arguments: [Argument]

      package init(names: [String], action: Action, errno: UInt32? = nil, arguments: [Argument] = []) {
        self.names = names
        self.action = action
        self.errno = errno
        self.arguments = arguments
      }
    }
    package var defaultAction: Action
    package var defaultErrno: UInt32?
    /// As "SCMP_ARCH_X86_64"; the machine's own is always there.
    package var architectures: [String] = []
    /// As "SECCOMP_FILTER_FLAG_LOG".
    package var flags: [String] = []
    package var rules: [Rule] = []

    package init(defaultAction: Action, defaultErrno: UInt32? = nil) {
      self.defaultAction = defaultAction
      self.defaultErrno = defaultErrno
    }
  }
}
