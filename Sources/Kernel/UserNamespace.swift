internal import CLinux
internal import Glibc

/// A range of ids of a user namespace, and those of its parent that they are.
package struct IDRange: Hashable, Sendable {
  package var inside: UInt32
  package var outside: UInt32
  package var count: UInt32

  package init(inside: UInt32, outside: UInt32, count: UInt32) {
    self.inside = inside
    self.outside = outside
    self.count = count
  }
}

/// A user namespace, and a network namespace that belongs to it where one was asked for. Both live as long as this, or
/// something that is in them.
package final class UserNamespace: Sendable {
  private let user: OwnedFD
  private let network: OwnedFD?

  private init(user: consuming OwnedFD, network: consuming OwnedFD?) {
    self.user = user
    self.network = network
  }

  /// Whether this kernel shows a container's layers with other ids: overlays of id-mapped mounts came with Linux 6.15.
  package static let isUsableForContainers: Bool = {
    let release = (try? Files.readText("/proc/sys/kernel/osrelease")) ?? nil
    return canMapLayers(release: release ?? "")
  }()

  static func canMapLayers(release: String) -> Bool {
    let numbers = release.split(separator: ".").prefix(2).map { Int($0.prefix { $0.isNumber }) ?? 0 }
    guard numbers.count == 2 else { return false }
    return (numbers[0], numbers[1]) >= (6, 15)
  }

  /// Paths that lead to the namespaces for as long as this value lives, in this process only.
  package var path: String { user.withRaw { "/proc/self/fd/\($0)" } }
  package var networkPath: String? {
    switch network {
    case .some(let network): network.withRaw { "/proc/self/fd/\($0)" }
    case .none: nil
    }
  }

  /// - Requires: CAP_SETUID, CAP_SETGID and CAP_SYS_ADMIN. Blocks for less than a millisecond: copies this process's page
  ///   tables once.
  package static func make(uids: [IDRange], gids: [IDRange], withNetwork: Bool) throws(SyscallError) -> UserNamespace {
    let made = unsafe clinux_user_namespace(map(uids), map(gids), withNetwork ? 1 : 0)
    guard made.stage == Int32(CLINUX_USER_OK.rawValue) else {
      let calls = ["", "pipe2", "clone3", "write", "write", "open"]
      let subjects = ["", "", "user namespace", "uid_map", "gid_map", "namespace of a child"]
      let stage = calls.indices.contains(Int(made.stage)) ? Int(made.stage) : 0
      throw SyscallError(call: calls[stage], subject: subjects[stage], errno: made.err)
    }
    return UserNamespace(
      user: OwnedFD(adopting: made.user), network: withNetwork ? OwnedFD(adopting: made.network) : nil)
  }

  /// Whether the namespace that a path leads to belongs to this one, so that capabilities in here count there.
  package func owns(_ namespacePath: String) throws(SyscallError) -> Bool {
    let namespace = try Files.open(namespacePath, flags: O_RDONLY)
    let answer = try user.withRaw { user throws(SyscallError) in
      try namespace.withRaw { namespace throws(SyscallError) in
        try syscall("ioctl", on: namespacePath) { clinux_namespace_belongs(namespace, user) }
      }
    }
    return answer == 1
  }

  private static func map(_ ranges: [IDRange]) -> String {
    ranges.map { "\($0.inside) \($0.outside) \($0.count)\n" }.joined()
  }
}
