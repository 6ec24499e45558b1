internal import Glibc

/// What this machine's kernel and limits offer to a node, as found; judging it is for others.
package struct HostFeatures: Sendable, Equatable {
  /// `uname -r`, and its first two numbers.
  package var release = ""
  package var releaseNumbers: [Int] = []
  package var isRoot = false
  /// The effective capabilities, one bit each, as in /proc/self/status.
  package var capabilities: UInt64 = 0
  package var cgroup2MountPoint: String?
  package var cgroup2Controllers: [String] = []
  /// Of /proc/filesystems: what is built in or loaded.
  package var fileSystems: Set<String> = []
  /// Namespaces that /proc/self/ns names: `net`, `user`.
  package var namespaces: Set<String> = []
  /// Actions that seccomp filters may name; empty where the kernel has none.
  package var seccompActions: Set<String> = []
  /// RLIMIT_NOFILE: what a process may have open, and the bound to which it may raise that itself.
  package var openFiles = 0
  package var openFilesMax = 0
  package var forwardsIPv4 = false
  package var forwardsIPv6 = false
  package var hasIPv6 = false
  package var hasSwap = false
  /// Ports that something listens on over TCP, in this network namespace.
  package var listeningPorts: Set<UInt16> = []
  package var hasAppArmor = false
  package var hasSELinux = false

  package init() {}

  /// Reads /proc and /sys; changes nothing, needs no privilege. What cannot be read counts as not there.
  package static func found() -> HostFeatures {
    var features = HostFeatures()
    features.release = text("/proc/sys/kernel/osrelease").trimmed
    features.releaseNumbers = features.release.split(whereSeparator: { !$0.isNumber }).prefix(2).compactMap { Int($0) }
    features.isRoot = CurrentProcess.effectiveUser == 0
    features.capabilities = capabilities(ofStatus: text("/proc/self/status"))
    if let hierarchy = try? CgroupHierarchy.discover() {
      features.cgroup2MountPoint = hierarchy.mountPoint
      features.cgroup2Controllers = hierarchy.controllers
    }
    features.fileSystems = Set(
      lines("/proc/filesystems").compactMap { $0.split(separator: "\t").last.map(String.init) })
    features.namespaces = Set(((try? Directory(path: "/proc/self/ns").list()) ?? []).map(\.name))
    features.seccompActions = Set(
      text("/proc/sys/kernel/seccomp/actions_avail").trimmed.split(separator: " ").map(String.init))
    (features.openFiles, features.openFilesMax) = openFiles(ofLimits: text("/proc/self/limits"))
    features.forwardsIPv4 = sysctl("ipv4/ip_forward") == "1"
    features.forwardsIPv6 = sysctl("ipv6/conf/all/forwarding") == "1"
    features.hasIPv6 = sysctl("ipv6/conf/all/disable_ipv6") == "0"
    features.hasSwap = lines("/proc/swaps").count > 1
    features.listeningPorts = Set(
      ["/proc/net/tcp", "/proc/net/tcp6"].flatMap { lines($0).compactMap(listeningPort(ofLine:)) })
    features.hasAppArmor = SecurityModules.hasAppArmor
    features.hasSELinux = SecurityModules.hasSELinux
    return features
  }

  /// The CapEff line of proc_pid_status(5).
  static func capabilities(ofStatus status: String) -> UInt64 {
    let prefix = "CapEff:"
    let line = status.split(separator: "\n").first { $0.hasPrefix(prefix) }
    return line.flatMap { UInt64(String($0.dropFirst(prefix.count)).trimmed, radix: 16) } ?? 0
  }

  /// The line of open files of proc_pid_limits(5): soft and hard.
  static func openFiles(ofLimits limits: String) -> (soft: Int, hard: Int) {
    let prefix = "Max open files"
    guard let line = limits.split(separator: "\n").first(where: { $0.hasPrefix(prefix) }) else { return (0, 0) }
    let numbers = line.dropFirst(prefix.count).split(separator: " ").prefix(2).map { Int($0) ?? Int.max }
    return numbers.count == 2 ? (numbers[0], numbers[1]) : (0, 0)
  }

  /// Of a line of proc_pid_net(5)'s tcp table that tells of a listening socket; nil for any other.
  static func listeningPort(ofLine line: Substring) -> UInt16? {
    let fields = line.split(separator: " ")
    let listening = "0A"
    guard fields.count > 3, fields[3] == listening, let colon = fields[1].lastIndex(of: ":") else { return nil }
    return UInt16(fields[1][fields[1].index(after: colon)...], radix: 16)
  }

  private static func text(_ path: String) -> String { ((try? Files.readText(path)) ?? nil) ?? "" }
  private static func lines(_ path: String) -> [Substring] { text(path).split(separator: "\n") }
  private static func sysctl(_ name: String) -> String? { try? NetworkNamespace.readSysctl(name) }

  /// Tries in a network namespace of its own whether a pod's pair of links and `program`, nf_tables messages as `NFT`
  /// makes them, are taken. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN; leaves nothing.
  ///
  /// - Returns: what failed, a sentence each.
  package static func networkRefusals(program: [UInt8]) async -> [String] {
    do throws(SyscallError) {
      return try await NetworkNamespace.make(
        inside: { () throws(SyscallError) -> [String] in
          var refusals: [String] = []
          do throws(SyscallError) {
            let address = LinkAddress.random()
            let pair = RouteRequest.addPair(
              name: "probe0", address: address, mtu: 1500, peer: "probe1", peerAddress: LinkAddress.random())
            try RouteSocket().run([pair])
          } catch {
            refusals.append("veth: \(error)")
          }
          let transactions = try NftTransactions()
          do throws(NftRefusal) { try transactions.run(program) } catch {
            refusals.append("nf_tables: \(error.sentence ?? error.cause.description)")
          }
          return refusals
        }, outside: { (_, refusals) in refusals })
    } catch {
      return ["network namespace: \(error)"]
    }
  }
}

extension String {
  /// Without blanks and line ends around it.
  fileprivate var trimmed: String {
    func isBlank(_ character: Character) -> Bool { character.isWhitespace }
    return String(drop(while: isBlank).reversed().drop(while: isBlank).reversed())
  }
}
