internal import Kernel
internal import Logging
internal import NFT

/// Where a node's pod network keeps its state.
struct RunLayout: Sendable {
  let namespaces: String
  let records: String

  init(runDirectory: String) {
    namespaces = "\(runDirectory)/netns"
    records = "\(runDirectory)/network"
  }

  func pin(_ sandboxID: String) -> String { "\(namespaces)/\(sandboxID)" }
  func record(_ sandboxID: String) -> String { "\(records)/\(sandboxID).json" }

  /// Ids become file names: nothing else may.
  static func isSandboxID(_ text: String) -> Bool {
    text.utf8.count == 64 && text.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
  }
}

extension HostPort {
  /// Whether both cannot be open at once.
  func collides(with other: HostPort) -> Bool {
    transport == other.transport && hostPort == other.hostPort
      && (hostIP == nil || other.hostIP == nil || hostIP == other.hostIP)
  }
}

extension PodNetwork {
  /// The node's own link: it holds the address that the node speaks to pods from, and what is routed to it, virtual
  /// addresses that no service has, goes nowhere, for its peer stays down. Not every kernel has dummy links.
  package static let nodeLink = "martlet0"
  package static let nodePeer = "martlet1"

  func recover(known: Set<String>) async throws(PodNetworkError) -> PodNetworkRecovery {
    let stage = "start pod network"
    let pool = try checkedPool(stage)
    var recovery = PodNetworkRecovery()
    do throws(SyscallError) {
      try Files.makeDirectories(layout.namespaces)
      try Files.makeDirectories(layout.records)
      let families = self.families
      let (routes, reaperRoutes, transactions) = try await inHome { () throws(SyscallError) in
        try Self.enableForwarding(families)
        return (try RouteSocket(), try RouteSocket(), try NftTransactions())
      }
      try prepareNodeLink(routes, pool)
      open = Open(
        routes: routes, reaperRoutes: reaperRoutes, transactions: transactions, addresses: pool, table: rules.table([]))
      try adopt(known, &recovery)
      try Self.run(wantedTable().replacing(), transactions)
      open?.table = wantedTable()
    } catch {
      open = nil
      throw PodNetworkError(code: .kernel, stage: stage, detail: error.description)
    }
    try await removeUnknown(known, &recovery, stage)
    for sandboxID in known where pods[sandboxID] == nil && recovery.lost[sandboxID] == nil {
      recovery.lost[sandboxID] = "no record of its network in \(layout.records)"
    }
    try removeStrayPins(stage)
    startRefill()
    recovery.adopted.sort()
    return recovery
  }

  /// All at once, so that the kernel deletes their links together.
  private func removeUnknown(
    _ known: Set<String>, _ recovery: inout PodNetworkRecovery, _ stage: String
  ) async throws(PodNetworkError) {
    let going = pods.filter { $0.value.phase != .whole }.keys.sorted()
    let failures = await withTaskGroup(of: PodNetworkError?.self) { group in
      for sandboxID in going {
        group.addTask {
          do throws(PodNetworkError) {
            try await self.takeDown(sandboxID, stage)
            return nil
          } catch {
            return error
          }
        }
      }
      var failures: [PodNetworkError] = []
      for await failure in group { if let failure { failures.append(failure) } }
      return failures
    }
    if let first = failures.first { throw first }
    recovery.removed = going.filter { !known.contains($0) }
  }

  private func checkedPool(_ stage: String) throws(PodNetworkError) -> AddressPool {
    let ipv4 = configuration.podCIDRs.filter { $0.address.family == .ipv4 }
    let ipv6 = configuration.podCIDRs.filter { $0.address.family == .ipv6 }
    let random = randomBytes(2).reduce(0) { $0 << 8 | Int($1) }
    guard ipv4.count <= 1, ipv6.count <= 1,
      let pool = AddressPool(ipv4: ipv4.first, ipv6: ipv6.first, start: random)
    else {
      throw PodNetworkError(
        code: .configuration, stage: stage,
        detail: "podCIDRs: one IPv4 block up to /30, one IPv6 block up to /126, or one of each")
    }
    guard (1280...65_535).contains(configuration.mtu) else {
      throw PodNetworkError(
        code: .configuration, stage: stage, detail: "mtu \(configuration.mtu): 1280 to 65535 bytes")
    }
    guard (0...PodNetworkConfiguration.poolSizeMax).contains(configuration.poolSize) else {
      throw PodNetworkError(
        code: .configuration, stage: stage,
        detail: "poolSize \(configuration.poolSize): 0 to \(PodNetworkConfiguration.poolSizeMax)")
    }
    return pool
  }

  /// On a thread in the node's namespace.
  private func inHome<R: Sendable>(
    _ body: @escaping @Sendable () throws(SyscallError) -> R
  ) async throws(SyscallError) -> R {
    if let home { return try await home.run(body) }
    return try await onFreshThread { () throws(SyscallError) -> R in try body() }
  }

  private static func enableForwarding(_ families: Set<IPAddress.Family>) throws(SyscallError) {
    if families.contains(.ipv4), try NetworkNamespace.readSysctl("ipv4/ip_forward") != "1" {
      try NetworkNamespace.writeSysctl("ipv4/ip_forward", "1")
    }
    guard families.contains(.ipv6), try NetworkNamespace.readSysctl("ipv6/conf/all/forwarding") != "1" else { return }
    // A forwarding host stops listening to routers unless told to (2): it would lose the default route that it has.
    for entry in try Directory(path: "/proc/sys/net/ipv6/conf").list()
    where entry.name != "all" && entry.name != "default" {
      let name = "ipv6/conf/\(entry.name)/accept_ra"
      if try NetworkNamespace.readSysctl(name) == "1" { try NetworkNamespace.writeSysctl(name, "2") }
    }
    try NetworkNamespace.writeSysctl("ipv6/conf/all/forwarding", "1")
  }

  private func prepareNodeLink(_ routes: RouteSocket, _ pool: AddressPool) throws(SyscallError) {
    let there: Set<CInt> = [Errno.exists]
    let pair = RouteRequest.addPair(
      name: Self.nodeLink, address: .random(), mtu: configuration.mtu, peer: Self.nodePeer, peerAddress: .random())
    try routes.run([pair], tolerating: there)
    guard let link = try routes.link(named: Self.nodeLink) else {
      throw SyscallError(call: "rtnetlink", subject: "link \(Self.nodeLink)", errno: Errno.noDevice)
    }
    let setUp: [RouteRequest] = [.harden(name: Self.nodeLink, ipv6: pool.ipv6 != nil), .setUp(name: Self.nodeLink)]
    var requests = setUp
    requests += pool.addresses(AddressPool.nodeSlot).map { .addAddress(link: link.index, $0) }
    for prefix in configuration.serviceCIDRs {
      let source =
        prefix.address.family == .ipv4
        ? pool.addressIPv4(AddressPool.nodeSlot) : pool.addressIPv6(AddressPool.nodeSlot)
      requests.append(.addRoute(link: link.index, prefix, source: source))
    }
    try routes.run(requests, tolerating: there)
  }

  /// Reads every record. A damaged one is set aside under another name: what it owned cannot be told any more.
  private func adopt(_ known: Set<String>, _ recovery: inout PodNetworkRecovery) throws(SyscallError) {
    let links = Set(try open?.routes.links().map(\.name) ?? [])
    for entry in try Directory(path: layout.records).list() {
      // A record that was being written when the daemon died: nothing had been done for it yet.
      if entry.name.contains(".json.tmp.") { try Files.remove("\(layout.records)/\(entry.name)") }
      guard entry.name.hasSuffix(".json") else { continue }
      let sandboxID = String(entry.name.dropLast(5))
      guard RunLayout.isSandboxID(sandboxID) else { continue }
      let path = layout.record(sandboxID)
      let record: NetworkRecord
      do {
        record = try NetworkRecord.parse(try Files.read(path, maxBytes: NetworkRecord.bytesMax))
        guard record.sandboxID == sandboxID, open?.addresses.claim(record.slot) == true else {
          throw NetworkRecord.Damage(description: "its slot \(record.slot) is taken or outside the node's blocks")
        }
      } catch {
        logger.error("network record \(path): \(error); set aside as \(entry.name).damaged")
        try Files.rename(path, to: "\(path).damaged")
        if known.contains(sandboxID) { recovery.lost[sandboxID] = "its record is damaged: \(error)" }
        continue
      }
      let problem = self.problem(record, links)
      if known.contains(sandboxID) && problem == nil {
        pods[sandboxID] = Pod(record: record, phase: .whole)
        recovery.adopted.append(sandboxID)
      } else {
        pods[sandboxID] = Pod(record: record, phase: .going)
        if known.contains(sandboxID) { recovery.lost[sandboxID] = problem }
      }
    }
  }

  /// Why the pod's network is not what its record says; nil where it is.
  private func problem(_ record: NetworkRecord, _ links: Set<String>) -> String? {
    let pin = layout.pin(record.sandboxID)
    guard (try? NetworkNamespace.open(pin)) != nil else { return "no network namespace is pinned at \(pin)" }
    if !links.contains(record.hostLink) { return "its link \(record.hostLink) is gone" }
    if record.addresses != open?.addresses.addresses(record.slot) {
      return "its addresses are not of the node's blocks"
    }
    return nil
  }

  /// Pins that no record speaks of: half of an attach that was cut off, or what a damaged record owned.
  private func removeStrayPins(_ stage: String) throws(PodNetworkError) {
    do throws(SyscallError) {
      for entry in try Directory(path: layout.namespaces).list() where pods[entry.name] == nil {
        try NetworkNamespace.unpin("\(layout.namespaces)/\(entry.name)")
      }
    } catch {
      throw PodNetworkError(code: .kernel, stage: stage, detail: error.description)
    }
  }
}
