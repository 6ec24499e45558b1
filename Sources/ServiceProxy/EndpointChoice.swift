package import Dataplane
package import Kernel
package import KubeModel

/// The node whose connections are led.
package struct ProxyNode: Hashable, Sendable {
  package var name: String
  /// Of `topology.kubernetes.io/zone`.
  package var zone: String?

  package static let zoneLabel = "topology.kubernetes.io/zone"

  package init(name: String, zone: String? = nil) { (self.name, self.zone) = (name, zone) }
}

/// One endpoint of a port of a Service, as its slices tell of it.
package struct SliceBackend: Hashable, Sendable {
  package var target: ServiceEndpoint
  package var isReady: Bool
  package var isServing: Bool
  package var isTerminating: Bool
  package var nodeName: String?
  package var zone: String?
  package var zoneHints: Set<String>
  package var nodeHints: Set<String>

  package init(target: ServiceEndpoint, _ endpoint: Endpoint) {
    self.target = target
    let conditions = endpoint.conditions
    // What is not said is true of ready, as of what is ready and does not end.
    isReady = conditions.ready ?? true
    isServing = conditions.serving ?? isReady
    isTerminating = conditions.terminating ?? false
    nodeName = endpoint.nodeName
    zone = endpoint.zone
    zoneHints = Set(endpoint.hints?.forZones.map(\.name) ?? [])
    nodeHints = Set(endpoint.hints?.forNodes.map(\.name) ?? [])
  }

  /// Of two slices that name one target, the better word counts.
  func isBetter(than other: SliceBackend) -> Bool {
    func rank(_ backend: SliceBackend) -> Int { backend.isReady ? 2 : backend.isServing ? 1 : 0 }
    return rank(self) > rank(other)
  }

  fileprivate var lastsAWhile: Bool { isServing && isTerminating }
}

/// Where the connections of one port of a Service go, for each traffic policy.
/// https://kubernetes.io/docs/reference/networking/virtual-ips/
package struct EndpointChoice: Hashable, Sendable {
  /// Of all nodes, or of those near where the Service prefers that.
  package var cluster: [ServiceEndpoint] = []
  /// Of this node.
  package var local: [ServiceEndpoint] = []
  /// Addresses of ready ones of this node, whose number is what its health says to load balancers.
  package var localReady: Set<IPAddress> = []
  /// Whether any endpoint could take connections at all, wherever it is: if not they are refused, not dropped.
  package var exists = false

  package init() {}

  /// - Parameters:
  ///   - backends: each target once.
  ///   - distribution: `spec.trafficDistribution`.
  package init(_ backends: [SliceBackend], distribution: String? = nil, node: ProxyNode) {
    let ready = backends.filter(\.isReady)
    let near = Self.near(ready, distribution, node)
    let stopping = ready.isEmpty ? backends.filter(\.lastsAWhile) : []
    cluster = (near.isEmpty ? stopping : near).map(\.target).sorted()
    let own = backends.filter { $0.nodeName == node.name }
    let ownReady = own.filter(\.isReady)
    local = (ownReady.isEmpty ? own.filter(\.lastsAWhile) : ownReady).map(\.target).sorted()
    localReady = Set(ownReady.filter { !$0.isTerminating }.map(\.target.address))
    exists = !cluster.isEmpty || !local.isEmpty
  }

  /// Those that hints give to this node or its zone, as soon as all ready endpoints carry hints and one is for here.
  private static func near(_ ready: [SliceBackend], _ distribution: String?, _ node: ProxyNode) -> [SliceBackend] {
    if let found = narrowed(ready, to: node.name, by: \.nodeHints) { return found }
    if let zone = node.zone, let found = narrowed(ready, to: zone, by: \.zoneHints) { return found }
    guard ready.allSatisfy({ $0.zoneHints.isEmpty && $0.nodeHints.isEmpty }) else { return ready }
    // Slices of someone who gives no hints: what the endpoints say of themselves has to do.
    switch distribution {
    case "PreferSameNode":
      let own = ready.filter { $0.nodeName == node.name }
      return own.isEmpty ? sameZone(ready, node) : own
    case "PreferClose", "PreferSameZone": return sameZone(ready, node)
    default: return ready
    }
  }

  private static func narrowed(
    _ ready: [SliceBackend], to name: String, by hints: (SliceBackend) -> Set<String>
  ) -> [SliceBackend]? {
    guard !ready.contains(where: { hints($0).isEmpty }) else { return nil }
    let found = ready.filter { hints($0).contains(name) }
    return found.isEmpty ? nil : found
  }

  private static func sameZone(_ ready: [SliceBackend], _ node: ProxyNode) -> [SliceBackend] {
    guard let zone = node.zone, !ready.contains(where: { $0.zone == nil }) else { return ready }
    let found = ready.filter { $0.zone == zone }
    return found.isEmpty ? ready : found
  }
}
