internal import CSecurity
internal import Glibc
internal import Synchronization

/// A rule of a device filter; later ones win over earlier ones, and what no rule says is denied.
package struct DeviceFilterRule: Hashable, Sendable {
  package enum Kind: UInt32, Sendable {
    case all = 0
    case block, character
  }
  package var allow: Bool
  package var kind: Kind
  /// nil is every one.
  package var major: UInt32?
  package var minor: UInt32?
  package var makeNode: Bool
  package var read: Bool
  package var write: Bool

  package init(
    allow: Bool, kind: Kind, major: UInt32?, minor: UInt32?, makeNode: Bool, read: Bool, write: Bool
  ) {
    self.allow = allow
    self.kind = kind
    self.major = major
    self.minor = minor
    self.makeNode = makeNode
    self.read = read
    self.write = write
  }
}

/// Device filters in the kernel, each set of rules loaded once and attached to many cgroups.
package final class DeviceFilters: Sendable {
  /// Different sets of rules that are kept loaded.
  private static let loadedMax = 64
  private let loaded = Mutex<[[DeviceFilterRule]: SharedFD]>([:])

  package init() {}

  /// From now on the processes of a cgroup may use only the devices that the rules allow.
  /// - Requires: CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN.
  package func attach(_ rules: [DeviceFilterRule], to cgroup: borrowing OwnedFD) throws(SyscallError) {
    let filter = try filter(rules)
    let code = cgroup.withRaw { group in
      filter.withRaw { program in csecurity_device_filter_attach(program, group) }
    }
    if code < 0 { throw SyscallError(call: "bpf", subject: "device filter of a cgroup", errno: -code) }
  }

  private func filter(_ rules: [DeviceFilterRule]) throws(SyscallError) -> SharedFD {
    if let known = loaded.withLock({ $0[rules] }) { return known }
    let encoded = rules.map { rule in
      csecurity_device_rule(
        allow: rule.allow ? 1 : 0, kind: rule.kind.rawValue,
        access: (rule.makeNode ? 1 : 0) | (rule.read ? 2 : 0) | (rule.write ? 4 : 0),
        major: rule.major.map(Int64.init) ?? -1, minor: rule.minor.map(Int64.init) ?? -1)
    }
    // Safe: the call reads as many rules as it is told.
    let raw = unsafe csecurity_device_filter_load(encoded, encoded.count)
    if raw < 0 { throw SyscallError(call: "bpf", subject: "load of a device filter", errno: -raw) }
    let filter = SharedFD(OwnedFD(adopting: raw))
    return loaded.withLock { loaded in
      if loaded.count >= Self.loadedMax { loaded = [:] }
      loaded[rules] = filter
      return filter
    }
  }
}
