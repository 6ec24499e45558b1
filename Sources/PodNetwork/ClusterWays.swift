package import Kernel

/// How packets of pods get from node to node.
package enum PodRouting: String, Sendable, CaseIterable {
  /// By the nodes' own addresses: they are on one link.
  case routes
  /// Inside of UDP: wherever the nodes reach each other.
  case vxlan
}

/// What a node is told of a node: itself or another.
package struct ClusterMachine: Sendable, Hashable {
  package var name: String
  package var podCIDRs: [IPPrefix]
  /// The cluster's addresses of it: InternalIP.
  package var addresses: [IPAddress]

  package init(name: String, podCIDRs: [IPPrefix], addresses: [IPAddress]) {
    (self.name, self.podCIDRs, self.addresses) = (name, podCIDRs, addresses)
  }

  /// What the node sends to pods from: the second address of each of its blocks.
  func address(in prefix: IPPrefix) -> IPAddress? { prefix.address.advanced(by: UInt64(AddressPool.nodeSlot)) }

  /// The node's on the overlay: of its first block, so that nobody need be told.
  var overlayAddress: LinkAddress? {
    guard let first = podCIDRs.first else { return nil }
    // FNV-1a, so that blocks of any length give six bytes; IPv4 blocks of one cluster would fit as they are.
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in first.address.bytes + [UInt8(first.length)] { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    func byte(_ index: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: hash >> (8 * index)) }
    return LinkAddress(0x02, byte(0), byte(1), byte(2), byte(3), byte(4))
  }
}

/// The ways from one node to the pods of all others, as a value.
package struct ClusterWays: Sendable, Hashable {
  /// A route and whether it goes over the overlay.
  package var routes: Set<ClusterRoute> = []
  package var overlay: OverlayLink?
  package var peers: Set<OverlayPeer> = []
  package var gateways: [IPAddress: LinkAddress] = [:]

  package init() {}

  package struct Settings: Sendable, Hashable {
    package var routing: PodRouting
    /// Of all pods: a node that claims others is not believed. Empty: every block is.
    package var clusterCIDRs: [IPPrefix]
    package var port: UInt16
    /// Bytes; of the links between the nodes.
    package var mtu: Int

    package init(routing: PodRouting = .routes, clusterCIDRs: [IPPrefix] = [], port: UInt16 = 4789, mtu: Int = 1500) {
      (self.routing, self.clusterCIDRs, self.port, self.mtu) = (routing, clusterCIDRs, port, mtu)
    }
  }

  package static let overlayLink = "martlet-vx"
  private static let overlayIdentifier: UInt32 = 1
  /// Outer Ethernet, IP, UDP and VXLAN headers.
  private static func overhead(_ family: IPAddress.Family) -> Int { family == .ipv4 ? 50 : 70 }

  /// What shall stand.
  /// - Returns: the ways, and why there are none to some machines, by name.
  package static func plan(
    own: ClusterMachine, others: [ClusterMachine], _ settings: Settings
  ) -> (ways: ClusterWays, problems: [String: String]) {
    var ways = ClusterWays()
    var problems: [String: String] = [:]
    var taken = own.podCIDRs
    let blocks = ([own] + others).flatMap(\.podCIDRs)
    if settings.routing == .vxlan, let address = own.overlayAddress {
      if let local = own.outside(blocks, family: nil) {
        ways.overlay = OverlayLink(
          name: overlayLink, address: address, identifier: overlayIdentifier, port: settings.port, local: local,
          mtu: settings.mtu - overhead(local.family))
      } else {
        problems[own.name] = "it has no address that others reach: give it one with --node-address"
        return (ways, problems)
      }
    }
    for other in others.sorted(by: { $0.name < $1.name }) where other.name != own.name {
      for prefix in other.podCIDRs {
        if let problem = refusal(of: prefix, settings.clusterCIDRs, taken) {
          problems[other.name] = problem
          continue
        }
        taken.append(prefix)
        if let problem = ways.add(prefix, of: other, own, blocks) { problems[other.name] = problem }
      }
    }
    return (ways, problems)
  }

  private static func refusal(of prefix: IPPrefix, _ cluster: [IPPrefix], _ taken: [IPPrefix]) -> String? {
    if !cluster.isEmpty, !cluster.contains(where: { $0.length <= prefix.length && $0.contains(prefix.address) }) {
      return "its pod range \(prefix) is outside the cluster's, \(cluster.map(\.description).joined(separator: ", "))"
    }
    if let other = taken.first(where: { $0.contains(prefix.address) || prefix.contains($0.address) }) {
      return "its pod range \(prefix) overlaps \(other) of another node"
    }
    return nil
  }

  /// - Returns: why there is no way.
  private mutating func add(
    _ prefix: IPPrefix, of other: ClusterMachine, _ own: ClusterMachine, _ blocks: [IPPrefix]
  ) -> String? {
    let family = prefix.address.family
    let source = own.podCIDRs.first { $0.address.family == family }.flatMap { own.address(in: $0) }
    guard let overlay else {
      guard let gateway = other.outside(blocks, family: family) else {
        return "it has no \(family == .ipv4 ? "IPv4" : "IPv6") address that others reach; its pod range \(prefix) has "
          + "no way: give it --node-address"
      }
      guard !own.addresses.contains(gateway) else { return "it says that it is at \(gateway), which is this node" }
      routes.insert(ClusterRoute(prefix: prefix, gateway: gateway, source: source))
      return nil
    }
    guard let remote = other.outside(blocks, family: overlay.local.family), let address = other.overlayAddress,
      let gateway = other.address(in: prefix)
    else {
      return "it has no \(overlay.local.family == .ipv4 ? "IPv4" : "IPv6") address that others reach: give it one "
        + "with --node-address"
    }
    peers.insert(OverlayPeer(address: address, remote: remote))
    gateways[gateway] = address
    routes.insert(ClusterRoute(prefix: prefix, gateway: gateway, source: source))
    return nil
  }
}

extension ClusterMachine {
  /// The first address that leads to the machine itself from elsewhere: not one of a pod range.
  fileprivate func outside(_ blocks: [IPPrefix], family: IPAddress.Family?) -> IPAddress? {
    addresses.first { address in
      (family == nil || address.family == family) && !blocks.contains { $0.contains(address) }
    }
  }
}
