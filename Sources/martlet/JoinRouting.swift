import ArgumentParser
import Kernel
import KubeClient
import KubeModel
import Logging
import PodNetwork

extension PodRouting: ExpressibleByArgument {}

/// What the server tells a node with its pod ranges, as annotations of the Node.
struct ClusterFacts: Equatable, Sendable {
  var clusterCIDRs: [String]
  var serviceCIDRs: [String]
  var routing: PodRouting

  private static let clusterKey = "martlet.dev/cluster-cidrs"
  private static let serviceKey = "martlet.dev/service-cidrs"
  private static let routingKey = "martlet.dev/pod-routing"

  init(clusterCIDRs: [String], serviceCIDRs: [String], routing: PodRouting) {
    (self.clusterCIDRs, self.serviceCIDRs, self.routing) = (clusterCIDRs, serviceCIDRs, routing)
  }

  /// Nil where the node has not been told.
  init?(_ node: Node) {
    let notes = node.metadata.annotations
    guard let cluster = notes[Self.clusterKey], let services = notes[Self.serviceKey],
      let routing = notes[Self.routingKey].flatMap({ PodRouting(rawValue: $0) })
    else { return nil }
    self.init(
      clusterCIDRs: cluster.split(separator: ",").map(String.init),
      serviceCIDRs: services.split(separator: ",").map(String.init), routing: routing)
  }

  var annotations: [String: String] {
    [
      Self.clusterKey: clusterCIDRs.joined(separator: ","), Self.serviceKey: serviceCIDRs.joined(separator: ","),
      Self.routingKey: routing.rawValue,
    ]
  }
}

/// How a node gets packets to the pods of others.
struct RoutingOptions: ParsableArguments {
  @Option(
    name: .customLong("cluster-cidr"),
    help: ArgumentHelp("Addresses of all nodes' pods; a node that claims others gets no route.", valueName: "cidr"))
  var clusterCIDRs: [String] = []

  @Option(
    name: .customLong("pod-routing"),
    help: ArgumentHelp(
      "How pods' packets get from node to node: routes where all are on one link, vxlan where not.", valueName: "way"))
  var podRouting = PodRouting.routes

  /// - Parameters:
  ///   - nodes: all of the cluster.
  ///   - addresses: this node's, for the cluster.
  func router(
    nodes: Informer<Node>, name: String, podCIDRs: [IPPrefix], addresses: @escaping @Sendable () -> [String]
  ) throws -> PodRouter {
    var settings = ClusterWays.Settings(routing: podRouting)
    settings.clusterCIDRs = try clusterCIDRs.flatMap { $0.split(separator: ",") }.map { text in
      guard let prefix = IPPrefix(text) else {
        throw Failure("--cluster-cidr: \"\(text)\" is no range such as 10.87.0.0/16", code: Failure.usageCode)
      }
      return prefix
    }
    let logger = Logger(label: "martlet.routes")
    return PodRouter(
      routing: ClusterRouting(settings: settings, logger: logger), nodes: nodes, name: name, podCIDRs: podCIDRs,
      addresses: addresses, logger: logger)
  }
}

/// Follows the cluster's nodes, and has the kernel's routes to their pods follow.
struct PodRouter: Sendable {
  let routing: ClusterRouting
  let nodes: Informer<Node>
  let name: String
  let podCIDRs: [IPPrefix]
  let addresses: @Sendable () -> [String]
  let logger: Logger

  /// Between two looks at what stands in the kernel: others' changes there tell nobody.
  private static let look = Duration.seconds(10)
  /// Before what the kernel refused is tried again.
  private static let retry = Duration.seconds(1)

  /// Until cancelled. The routes stay: pods go on without this process.
  func run() async throws {
    let changed = Signal()
    nodes.onChange { event in
      // Nodes say every few seconds that they live.
      if case .updated(let old, let new) = event, Self.machine(old) == Self.machine(new) { return }
      changed.raise()
    }
    // Routes that stand are right until the cluster says otherwise.
    while await !nodes.waitForSync(), !Task.isCancelled {}
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        while !Task.isCancelled {
          let done = await bring()
          try Task.checkCancellation()
          if done { await changed.wait() } else { try await Task.sleep(for: Self.retry) }
        }
      }
      group.addTask {
        while true {
          try await Task.sleep(for: Self.look)
          changed.raise()
        }
      }
      try await group.next()
      group.cancelAll()
    }
  }

  private func bring() async -> Bool {
    let all = nodes.list().map(Self.machine)
    var own = ClusterMachine(name: name, podCIDRs: podCIDRs, addresses: addresses().compactMap { IPAddress($0) })
    own.addresses += all.first { $0.name == name }?.addresses.filter { !own.addresses.contains($0) } ?? []
    do {
      return try await routing.apply(own: own, others: all.filter { $0.name != name }).isEmpty
    } catch {
      logger.error("routes to other nodes: \(error); tried again in \(Self.retry)")
      return false
    }
  }

  static func machine(_ node: Node) -> ClusterMachine {
    let ranges = node.spec.podCIDRs.isEmpty ? [node.spec.podCIDR ?? ""] : node.spec.podCIDRs
    return ClusterMachine(
      name: node.metadata.name ?? "", podCIDRs: ranges.compactMap { IPPrefix($0) },
      addresses: node.status.addresses.filter { $0.type == "InternalIP" }.compactMap { IPAddress($0.address) })
  }
}
