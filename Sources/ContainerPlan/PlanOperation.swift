/// One step of a plan. What each does, and its numbers on the wire, are in CShims/CSandbox/include/plan.h.
package enum PlanOperation: Hashable, Sendable {
  case startSession
  /// A detached copy of the mount at a host path.
  case copyTree(slot: Slot, path: String, isRecursive: Bool, isNullDevice: Bool)
  case openFileSystem(slot: Slot, type: String)
  case setOption(slot: Slot, key: String, value: String)
  case setFlag(slot: Slot, key: String)
  /// Makes a detached mount of the file system that was opened in the slot.
  case makeMount(slot: Slot, attributes: MountAttributes)
  case setAttributes(
    slot: Slot, set: MountAttributes, clear: MountAttributes, propagation: Propagation?, isRecursive: Bool)
  /// Into a mount namespace of its own, a copy of the empty seed, and other new namespaces.
  case enterNamespaces(Namespaces)
  case attachRoot(slot: Slot)
  /// With a directory, the path is the name of one in there: of a file system that the plan has made itself.
  case attach(slot: Slot, path: String, within: Slot? = nil, missing: Missing, refusesLinks: Bool)
  case makeDirectory(root: Slot, path: String, mode: UInt32)
  case makeNode(root: Slot, path: String, mode: UInt32, major: UInt32, minor: UInt32, uid: UInt32, gid: UInt32)
  case makeLink(root: Slot, path: String, target: String)
  /// Covers a path with the null device, or a directory with an empty one. Nothing there is fine.
  case mask(path: String, within: Slot? = nil)
  case makeReadOnly(path: String, within: Slot? = nil)
  /// Makes the attached root the process's own: it covers the namespace's.
  case enterRoot
  case setHostname(String)
  case setDomainName(String)
  /// The path is below /proc, as "sys/net/ipv4/ip_forward".
  case setSysctl(path: String, value: String)
  case setResourceLimit(name: String, number: UInt32, soft: UInt64, hard: UInt64)
  case setGroups([UInt32])
  case setIDs(uid: UInt32, gid: UInt32, keepsCapabilities: Bool)
  case limitCapabilities(UInt64)
  case setCapabilities(effective: UInt64, permitted: UInt64, ambient: UInt64 = 0)
  /// Writes to a file of the process's own below /proc what its program shall run as.
  case setLabel(kind: LabelKind, label: String)
  /// Ids of a mount's files as the pod's user namespace maps them.
  case mapIDs(slot: Slot, isRecursive: Bool)
  /// A mount as a layer of a file system that is being opened.
  case setLayer(slot: Slot, key: String, layer: Slot)
  /// The slot becomes a part of what it was.
  case takePart(slot: Slot, path: String)
  /// Into the pod's user namespace.
  case enterUserNamespace
  case forbidNewPrivileges
  case filterSystemCalls(program: [UInt8], flags: UInt32)
  case changeDirectory(String)
  case setUmask(UInt32)
  case ownStdio(uid: UInt32, gid: UInt32)
  /// Opens a terminal, in the devpts of a slot or at /dev/pts, for descriptors 0 to 2, and over /dev/console.
  case openTerminal(devpts: Slot?, dev: Slot?, rows: UInt16, columns: UInt16, uid: UInt32)
  case setOutOfMemoryScore(Int)
  /// Into the namespaces of the container's first process.
  case join(Namespaces)
  case closeDescriptors
  /// Until the container is started: what comes before may be done when it is created.
  case waitForStart
  case execute(candidates: [String], arguments: [String], environment: [String])

  /// A descriptor that operations pass to one another.
  package struct Slot: Hashable, Sendable {
    let number: Int
    let name: String

    static let root = Slot(number: 3, name: "root")
    static let nullDevice = Slot(number: 4, name: "null")
    static let emptyDirectory = Slot(number: 5, name: "empty")
    static let firstFree = 7
    static let count = 256
  }

  package enum LabelKind: Hashable, Sendable { case apparmor, selinux }

  package enum Missing: Hashable, Sendable { case isError, makeDirectory, makeFile, makeSame }

  package enum Propagation: String, Hashable, Sendable {
    case `private`, slave, shared, unbindable

    /// MS_PRIVATE and so on.
    var number: UInt64 {
      switch self {
      case .unbindable: 1 << 17
      case .private: 1 << 18
      case .slave: 1 << 19
      case .shared: 1 << 20
      }
    }
  }
}

/// MOUNT_ATTR_* of mount_setattr(2).
package struct MountAttributes: OptionSet, Hashable, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }

  package static let readOnly = Self(rawValue: 0x1)
  package static let noSetUserID = Self(rawValue: 0x2)
  package static let noDevices = Self(rawValue: 0x4)
  package static let noExecute = Self(rawValue: 0x8)
  package static let noAccessTime = Self(rawValue: 0x10)
  package static let strictAccessTime = Self(rawValue: 0x20)
  /// Every bit of the access time choice: relatime is 0, and has to be cleared before another one is set.
  package static let accessTimeMask = Self(rawValue: 0x70)
  package static let noDirectoryAccessTime = Self(rawValue: 0x80)
  package static let noSymbolicLinks = Self(rawValue: 0x200000)

  /// As mount(8) calls them.
  package var names: String {
    let all: [(Self, String)] = [
      (.readOnly, "ro"), (.noSetUserID, "nosuid"), (.noDevices, "nodev"), (.noExecute, "noexec"),
      (.noAccessTime, "noatime"), (.strictAccessTime, "strictatime"), (.noDirectoryAccessTime, "nodiratime"),
      (.noSymbolicLinks, "nosymfollow"),
    ]
    return all.filter { contains($0.0) }.map(\.1).joined(separator: ",")
  }
}

/// CLONE_NEW* flags.
package struct Namespaces: OptionSet, Hashable, Sendable {
  package let rawValue: UInt64
  package init(rawValue: UInt64) { self.rawValue = rawValue }

  package static let mount = Self(rawValue: 0x0002_0000)
  package static let cgroup = Self(rawValue: 0x0200_0000)
  package static let uts = Self(rawValue: 0x0400_0000)
  package static let ipc = Self(rawValue: 0x0800_0000)
  package static let network = Self(rawValue: 0x4000_0000)
  package static let user = Self(rawValue: 0x1000_0000)

  package var names: String {
    let all: [(Self, String)] = [
      (.mount, "mount"), (.cgroup, "cgroup"), (.uts, "uts"), (.ipc, "ipc"), (.network, "network"),
      (.user, "user"),
    ]
    return all.filter { contains($0.0) }.map(\.1).joined(separator: ", ")
  }
}
