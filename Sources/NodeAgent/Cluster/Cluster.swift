package import KubeClient
package import KubeModel
package import Logging
package import PodTranslation

/// An API server as a node agent meets it: which pods it gives this node, what they are made from, and where it wants to
/// hear of them.
package final class Cluster: Sendable {
  package let client: KubeClient
  package let pods: Informer<Pod>
  package let services: Informer<Service>
  let contents: ContentCache
  let statuses: StatusReporter
  let recorder: EventRecorder
  /// Pods to look at.
  let queue: WorkQueue<ObjectKey>
  /// Takes a pod out of the kernel's Service table for good; returns when the kernel has done it.
  let withdraw: @Sendable (_ uid: String) async -> Void
  /// Sets who may talk with a pod; its first container starts after that.
  let isolate: @Sendable (_ pod: Pod, _ addresses: [String]) async throws -> Void
  /// Raised when the node's health may be another than it was.
  let nodeChanged = Signal()

  /// The Service through which pods reach the API.
  private static let apiService = ObjectKey(namespace: "default", name: "kubernetes")
  private static let byNamespace = "node agent: namespace"
  /// How long a pod waits at first for what it is made from to be looked up.
  static let lookupMax = Duration.seconds(20)
  /// How long the first pods wait for the list of Services, which their variables show.
  static let servicesMax = Duration.seconds(10)
  /// How long the stop of a pod waits for the server to know that it is not ready any more.
  static let withdrawalMax = Duration.seconds(2)

  /// - Parameters:
  ///   - services: of all namespaces; shared with others, so somebody else runs it.
  ///   - hostIPs: of this node.
  ///   - contentPause: before a ConfigMap or Secret that could not be read is asked for again.
  package init(
    client: KubeClient, nodeName: String, services: Informer<Service>, hostIPs: @escaping @Sendable () -> [String],
    logger: Logger, contentPause: Duration = .seconds(10),
    withdraw: @escaping @Sendable (_ uid: String) async -> Void,
    isolate: @escaping @Sendable (_ pod: Pod, _ addresses: [String]) async throws -> Void = { _, _ in }
  ) {
    (self.client, self.services, self.withdraw, self.isolate) = (client, services, withdraw, isolate)
    let pods = Informer(Pod.self, client: client, fieldSelector: "spec.nodeName=\(nodeName)", logger: logger)
    let queue = WorkQueue<ObjectKey>(name: "pods", clock: client.clock, logger: logger)
    let statuses = StatusReporter(client: client, pods: pods, logger: logger, hostIPs: hostIPs)
    (self.pods, self.queue, self.statuses) = (pods, queue, statuses)
    recorder = EventRecorder(client: client, component: "kubelet", host: nodeName, logger: logger)
    contents = ContentCache(client: client, logger: logger, pause: contentPause) { pods in
      for pod in pods { queue.add(pod) }
    }
    services.addIndex(Self.byNamespace) { [$0.metadata.namespace ?? ""] }
    pods.onChange { event in
      queue.add(ObjectKey(event.object))
      if case .updated(_, let pod) = event { statuses.observe(pod.metadata.uid ?? "") }
    }
  }

  /// A node's hooks, and after them what this cluster does to the pods that it gives.
  func hooks(after own: PodHooks) -> PodHooks {
    var hooks = own
    hooks.sandboxReady = { [isolate] identity in
      try await own.sandboxReady(identity)
      if !identity.usesHostNetwork { try await isolate(identity.pod, identity.addresses) }
    }
    return hooks
  }

  /// Reads and writes until cancelled. Pods are looked at by the agent, who also runs this.
  func run() async {
    await withDiscardingTaskGroup { group in
      group.addTask { try? await self.pods.run() }
      group.addTask { await self.contents.run() }
      group.addTask { try? await self.statuses.run() }
      group.addTask { try? await self.recorder.run() }
    }
  }

  /// The Services that containers of a namespace see as variables.
  package func links(in namespace: String) -> [ServiceLink] {
    var links = services.list(index: Self.byNamespace, namespace).compactMap { Self.link($0) }
    if let api = services.get(Self.apiService), let link = Self.link(api) {
      links.removeAll { $0.name == link.name }
      links.append(link)
    }
    return links
  }

  private static func link(_ service: Service) -> ServiceLink? {
    guard let address = service.spec.clusterIP, !address.isEmpty, address != "None",
      service.spec.type != "ExternalName"
    else { return nil }
    return ServiceLink(
      name: service.metadata.name ?? "", clusterIP: address, ports: service.spec.ports,
      isForAll: ObjectKey(service) == apiService)
  }

  /// Writes an event about a pod.
  package func record(_ pod: Pod, _ note: PodNote) {
    var reference = ObjectReference(to: pod)
    reference.fieldPath = note.fieldPath(in: pod)
    recorder.record(reference, note.isWarning ? .warning : .normal, reason: note.reason, note.message)
  }
}
