package import Kernel
package import Logging

/// Keeps the kernel's routes to the pods of other nodes.
///
/// What stands in the kernel is read each time and compared with what shall stand: a restarted node takes over what it
/// finds, and what others took away comes back. Only routes that carry our mark are ever touched.
/// Needs CAP_NET_ADMIN in the network namespace of the process. Blocks for as long as a dump of routes takes.
package actor ClusterRouting {
  private let settings: ClusterWays.Settings
  private let logger: Logger
  private let home: NetworkNamespace?
  /// What was last told, so that it is told once.
  private var told: [String: String] = [:]

  /// - Parameter namespace: the node's; nil: that of the process.
  package init(settings: ClusterWays.Settings, logger: Logger, namespace: NetworkNamespace? = nil) {
    self.settings = settings
    self.logger = logger
    home = namespace
  }

  /// Makes the ways to `others`.
  /// - Returns: why there is none to some of them.
  package func apply(own: ClusterMachine, others: [ClusterMachine]) async throws(SyscallError) -> [String: String] {
    let (wanted, refusals) = ClusterWays.plan(own: own, others: others, settings)
    var problems = refusals
    let refused: [(ClusterRoute, String)]
    if let home {
      refused = try await home.run { () throws(SyscallError) in try Self.bring(wanted) }
    } else {
      refused = try await onFreshThread { () throws(SyscallError) in try Self.bring(wanted) }
    }
    // A gateway that is not on a link of ours is refused by the kernel.
    for (route, reason) in refused {
      guard let other = others.first(where: { $0.podCIDRs.contains(route.prefix) }) else { continue }
      problems[other.name] =
        "no route \(route): \(reason); nodes that are not on one link need --pod-routing vxlan, on all of them"
    }
    for (name, problem) in problems where told[name] != problem { logger.error("pods of node \(name): \(problem)") }
    told = problems
    return problems
  }

  /// - Returns: the routes that the kernel does not take, each with why.
  private static func bring(_ ways: ClusterWays) throws(SyscallError) -> [(ClusterRoute, String)] {
    let socket = try RouteSocket()
    let link = try bringOverlay(ways, socket)
    var wanted = ways.routes
    if let link {
      wanted = Set(
        wanted.map { ClusterRoute(prefix: $0.prefix, gateway: $0.gateway, source: $0.source, link: link) })
    }
    let standing = try socket.clusterRoutes()
    let (removed, added) = difference(standing: standing, wanted: wanted)
    try socket.run(removed.map { .deleteClusterRoute($0) }, tolerating: [Errno.noProcess, Errno.noEntry])
    var refused: [(ClusterRoute, String)] = []
    for route in added {
      do throws(SyscallError) {
        try socket.run([.addClusterRoute(route)])
      } catch {
        refused.append((ClusterRoute(prefix: route.prefix, gateway: route.gateway, source: route.source), "\(error)"))
      }
    }
    return refused
  }

  /// Which routes go and which come. The link of a route that may be on any counts for nothing.
  static func difference(
    standing: [ClusterRoute], wanted: Set<ClusterRoute>
  ) -> (removed: [ClusterRoute], added: [ClusterRoute]) {
    var missing = wanted
    var removed: [ClusterRoute] = []
    for route in standing {
      var anyLink = route
      anyLink.link = nil
      if missing.remove(route) == nil, missing.remove(anyLink) == nil { removed.append(route) }
    }
    return (removed, missing.sorted { "\($0)" < "\($1)" })
  }

  /// - Returns: the index of the overlay's link, where there shall be one.
  private static func bringOverlay(_ ways: ClusterWays, _ socket: RouteSocket) throws(SyscallError) -> UInt32? {
    var found = try socket.overlay(named: ClusterWays.overlayLink)
    if let standing = found, standing.link != ways.overlay {
      try socket.run([.deleteLink(name: ClusterWays.overlayLink)], tolerating: [Errno.noDevice])
      found = nil
    }
    guard let overlay = ways.overlay else { return nil }
    if found == nil { try socket.run([.addOverlay(overlay)]) }
    guard let link = try socket.link(named: overlay.name) else {
      throw SyscallError(call: "rtnetlink", subject: "link \(overlay.name)", errno: Errno.noDevice)
    }
    if found == nil { try socket.run([.setUp(name: overlay.name)]) }
    let standing = try socket.neighbours(on: link.index)
    var requests: [RouteRequest] = []
    // Addresses that kernels and others put there by themselves are of no use to anybody, and stay.
    for (gateway, _) in standing.gateways where ways.gateways[gateway] == nil && !gateway.isMulticast {
      requests.append(.deleteNeighbour(link: link.index, gateway))
    }
    for peer in standing.peers.subtracting(ways.peers) { requests.append(.deleteOverlayPeer(link: link.index, peer)) }
    for peer in ways.peers.subtracting(standing.peers) { requests.append(.addOverlayPeer(link: link.index, peer)) }
    for (gateway, address) in ways.gateways where standing.gateways[gateway] != address {
      requests.append(.addNeighbour(link: link.index, gateway, address))
    }
    try socket.run(requests, tolerating: [Errno.noEntry])
    return link.index
  }

  /// Takes away every route and link that any node agent here made. For a node that shall leave nothing.
  static func remove(_ socket: RouteSocket) throws(SyscallError) {
    try socket.run(
      try socket.clusterRoutes().map { .deleteClusterRoute($0) }, tolerating: [Errno.noProcess, Errno.noEntry])
    try socket.run([.deleteLink(name: ClusterWays.overlayLink)], tolerating: [Errno.noDevice])
  }
}

extension IPAddress {
  fileprivate var isMulticast: Bool { family == .ipv4 ? bytes[0] & 0xf0 == 0xe0 : bytes[0] == 0xff }
}
