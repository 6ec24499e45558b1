import JSON
import Kernel
import KubeClient
import KubeModel
import Logging

/// Keeps the Service by which pods know the name server, and says where it runs: on every node.
///
/// Each node answers its own pods (internalTrafficPolicy Local), so that a name server that is away is so for pods of a
/// node that is away, too.
struct UpDNS: Sendable {
  static let namespace = "kube-system"
  static let name = "kube-dns"
  private static let manager = "martlet-dns"
  /// Before what could not be written is tried again.
  private static let retry = Duration.seconds(2)

  /// Of the Service.
  let address: String
  let client: KubeClient
  let logger = Logger(label: "martlet.dns")

  /// Until cancelled.
  func run() async throws {
    let nodes = Informer<Node>(client: client, logger: logger)
    let services = Informer<Service>(
      client: client, namespace: Self.namespace, fieldSelector: "metadata.name=\(Self.name)", logger: logger)
    let slices = Informer<EndpointSlice>(
      client: client, namespace: Self.namespace, labelSelector: "kubernetes.io/service-name=\(Self.name)",
      logger: logger)
    let changed = Signal()
    nodes.onChange { event in
      // Nodes say every few seconds that they live.
      if case .updated(let old, let new) = event, Self.addresses(old) == Self.addresses(new) { return }
      changed.raise()
    }
    services.onChange { _ in changed.raise() }
    slices.onChange { _ in changed.raise() }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await nodes.run() }
      group.addTask { try await services.run() }
      group.addTask { try await slices.run() }
      group.addTask {
        for synced in [{ await nodes.waitForSync() }, { await services.waitForSync() }, { await slices.waitForSync() }]
        {
          while await !synced(), !Task.isCancelled {}
        }
        while !Task.isCancelled {
          let done = await bring(nodes.list(), services.list().first, slices.list())
          if done { await changed.wait() } else { try await Task.sleep(for: Self.retry) }
        }
      }
      try await group.next()
      group.cancelAll()
    }
  }

  private func bring(_ nodes: [Node], _ service: Service?, _ slices: [EndpointSlice]) async -> Bool {
    do throws(KubeError) {
      if let service {
        guard service.spec.clusterIP == address else {
          logger.error(
            "pods ask \(address); delete service \(Self.namespace)/\(Self.name) at \(service.spec.clusterIP ?? "")")
          return false
        }
      } else {
        try await create(Service.self, Self.service(address))
      }
      let places = Self.places(nodes)
      if let known = slices.first(where: { $0.metadata.name == Self.sliceName }) {
        let said = known.endpoints.map { "\($0.nodeName ?? "") \($0.addresses)" }
        guard said != places.map({ "\($0.name) \([$0.address])" }) else { return true }
        let endpoints = Self.slice(nodes)["endpoints"] ?? []
        _ = try await client.patch(
          EndpointSlice.self, name: Self.sliceName, namespace: Self.namespace, .merge(["endpoints": endpoints]))
      } else {
        try await create(EndpointSlice.self, Self.slice(nodes))
      }
      return true
    } catch {
      logger.error("service \(Self.namespace)/\(Self.name): \(error)")
      return false
    }
  }

  private func create<T: KubeResource>(_ type: T.Type, _ document: JSONValue) async throws(KubeError) {
    do throws(KubeError) {
      _ = try await client.document(
        KubeRequest(.post, T.resource.path(namespace: Self.namespace), body: document.encoded()))
    } catch {
      // The watch shows it in a moment.
      if !error.isAlreadyExists { throw error }
    }
  }

  // MARK: pure

  static let sliceName = "\(name)-nodes"

  static func addresses(_ node: Node) -> [String] {
    node.status.addresses.filter { $0.type == "InternalIP" }.map(\.address)
  }

  /// Each node and its IPv4 address, by name.
  static func places(_ nodes: [Node]) -> [(name: String, address: String)] {
    nodes.compactMap { node in
      guard let address = addresses(node).first(where: { IPAddress($0)?.family == .ipv4 }) else { return nil }
      return (node.metadata.name ?? "", address)
    }.sorted { $0.0 < $1.0 }
  }

  static func service(_ address: String) -> JSONValue {
    [
      "apiVersion": "v1", "kind": "Service",
      "metadata": [
        "name": .string(name), "namespace": .string(namespace),
        "labels": ["k8s-app": "kube-dns", "kubernetes.io/name": "Martlet", "kubernetes.io/cluster-service": "true"],
      ],
      "spec": [
        "type": "ClusterIP", "clusterIP": .string(address), "internalTrafficPolicy": "Local",
        "ports": [
          ["name": "dns", "protocol": "UDP", "port": 53, "targetPort": 53],
          ["name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": 53],
        ],
      ],
    ]
  }

  static func slice(_ nodes: [Node]) -> JSONValue {
    [
      "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
      "metadata": [
        "name": .string(sliceName), "namespace": .string(namespace),
        "labels": [
          "kubernetes.io/service-name": .string(name), "endpointslice.kubernetes.io/managed-by": .string(manager),
        ],
      ],
      "ports": [
        ["name": "dns", "protocol": "UDP", "port": 53], ["name": "dns-tcp", "protocol": "TCP", "port": 53],
      ],
      "endpoints": .array(
        places(nodes).map { place in
          [
            "addresses": [.string(place.address)], "nodeName": .string(place.name),
            "conditions": ["ready": true, "serving": true, "terminating": false],
          ]
        }),
    ]
  }
}
