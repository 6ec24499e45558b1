internal import KubeClient
package import KubeModel

/// What a Service's pods offer: endpoints by the set of ports that they serve.
package struct ServiceEndpoints: Sendable {
  /// Ports are the same for all endpoints of a slice, and a named target port may differ from pod to pod.
  package struct Group: Sendable {
    package let ports: [EndpointPort]
    package internal(set) var endpoints: [Endpoint]
  }
  package private(set) var groups: [Group] = []

  /// - Parameter zones: of the nodes that have one, by the node's name.
  package init(of service: Service, pods: [Pod], addressType: String, zones: [String: String]) {
    var places: [[EndpointPort]: Int] = [:]
    for pod in pods.sorted(by: { $0.metadata.key < $1.metadata.key }) {
      guard !pod.isFinished, LabelSelector.matches(pod.metadata.labels, equality: service.spec.selector) else {
        continue
      }
      let addresses = Self.addresses(of: pod, addressType: addressType)
      guard !addresses.isEmpty else { continue }
      let ports = service.spec.ports.compactMap { Self.port($0, of: pod) }
      let endpoint = Self.endpoint(pod, of: service, addresses: addresses, zones: zones)
      if let place = places[ports] {
        groups[place].endpoints.append(endpoint)
      } else {
        places[ports] = groups.count
        groups.append(Group(ports: ports, endpoints: [endpoint]))
      }
    }
  }

  /// The families that the service's slices are made for.
  package static func addressTypes(of service: Service) -> [String] {
    if !service.spec.ipFamilies.isEmpty { return service.spec.ipFamilies }
    let address = service.spec.clusterIP ?? ""
    return [address.contains(":") ? "IPv6" : "IPv4"]
  }

  private static func addresses(of pod: Pod, addressType: String) -> [String] {
    let all = pod.status.podIPs.isEmpty ? [pod.status.podIP ?? ""] : pod.status.podIPs.map(\.ip)
    return all.filter { !$0.isEmpty && $0.contains(":") == (addressType == "IPv6") }
  }

  private static func port(_ port: ServicePort, of pod: Pod) -> EndpointPort? {
    let wanted = port.protocol ?? "TCP"
    let number: Int32
    switch port.targetPort ?? .int(port.port) {
    case .int(let given): number = given == 0 ? port.port : given
    case .string(let name):
      let containers = pod.spec.containers + pod.spec.initContainers.filter { $0.restartPolicy == "Always" }
      guard
        let found = containers.lazy.flatMap(\.ports).first(where: {
          $0.name == name && ($0.protocol ?? "TCP") == wanted
        })
      else { return nil }
      number = found.containerPort
    }
    var endpointPort = EndpointPort()
    endpointPort.name = port.name ?? ""
    endpointPort.port = number
    endpointPort.protocol = wanted
    endpointPort.appProtocol = port.appProtocol
    return endpointPort
  }

  private static func endpoint(
    _ pod: Pod, of service: Service, addresses: [String], zones: [String: String]
  ) -> Endpoint {
    var endpoint = Endpoint()
    endpoint.addresses = addresses
    // A pod that is going is not ready for new connections from this moment, whatever its own probe still says; that
    // it still serves lets those who have nobody else keep to it.
    let (serving, terminating) = (pod.isReady, pod.metadata.isDeleting)
    endpoint.conditions.ready = service.spec.publishNotReadyAddresses == true || serving && !terminating
    endpoint.conditions.serving = serving
    endpoint.conditions.terminating = terminating
    var target = ObjectReference()
    target.kind = "Pod"
    target.namespace = pod.metadata.namespace
    target.name = pod.metadata.name
    target.uid = pod.metadata.uid
    endpoint.targetRef = target
    if let node = pod.spec.nodeName, !node.isEmpty {
      endpoint.nodeName = node
      endpoint.zone = zones[node]
    }
    endpoint.hints = hints(service.spec.trafficDistribution, endpoint)
    if let hostname = pod.spec.hostname, !hostname.isEmpty, pod.spec.subdomain == service.metadata.name {
      endpoint.hostname = hostname
    }
    return endpoint
  }

  /// For whom a ready endpoint is: clients of its own zone, and where the Service prefers that, of its own node.
  /// https://kubernetes.io/docs/concepts/services-networking/service/#traffic-distribution
  private static func hints(_ distribution: String?, _ endpoint: Endpoint) -> EndpointHints? {
    guard let distribution, ["PreferClose", "PreferSameZone", "PreferSameNode"].contains(distribution),
      endpoint.conditions.ready == true
    else { return nil }
    var hints = EndpointHints()
    if let zone = endpoint.zone {
      var forZone = ForZone()
      forZone.name = zone
      hints.forZones = [forZone]
    }
    if distribution == "PreferSameNode", let node = endpoint.nodeName {
      var forNode = ForNode()
      forNode.name = node
      hints.forNodes = [forNode]
    }
    return hints == EndpointHints() ? nil : hints
  }
}

extension Endpoint {
  /// What makes two endpoints the same one, whose state may have changed.
  struct Identity: Hashable {
    let addresses: [String]
    let hostname: String?
    let namespace: String?
    let name: String?
  }

  var identity: Identity {
    Identity(addresses: addresses, hostname: hostname, namespace: targetRef?.namespace, name: targetRef?.name)
  }
}
