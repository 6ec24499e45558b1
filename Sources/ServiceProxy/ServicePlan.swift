package import Dataplane
package import Kernel
package import KubeModel

/// A pod as a Service sees it.
package struct ServiceTarget: Hashable, Sendable {
  package var namespace: String
  package var labels: [String: String]
  package var addresses: [IPAddress]
  package var isReady: Bool
  /// Ports by `TCP/name`.
  package var namedPorts: [String: UInt16]

  package init(
    namespace: String, labels: [String: String], addresses: [IPAddress], isReady: Bool, namedPorts: [String: UInt16]
  ) {
    (self.namespace, self.labels, self.addresses) = (namespace, labels, addresses)
    (self.isReady, self.namedPorts) = (isReady, namedPorts)
  }
}

/// What becomes of the Services of a node: pure, and the same for the same Services and pods in any order.
package struct ServicePlan: Equatable, Sendable {
  package struct Port: Hashable, Sendable {
    package var name: String
    package var transport: String
    package var port: UInt16
    package var endpoints: [ServiceEndpoint]
  }
  /// One Service: its addresses and ports, or why it has none.
  package struct Outcome: Hashable, Sendable {
    package var namespace: String
    package var name: String
    package var addresses: [IPAddress] = []
    package var ports: [Port] = []
    package var problem = ""
  }
  /// By namespace and name.
  package private(set) var outcomes: [Outcome] = []
  package private(set) var table = ServiceTable()

  /// The annotation that chooses how connections are spread: `round-robin` (also when absent), `random` or `hash`.
  package static let balanceAnnotation = "martlet.dev/balance"

  /// - Parameter ranges: where Services that name no address get theirs, the first family first.
  package init(services: [Service], targets: [ServiceTarget], ranges: [IPPrefix]) {
    let sorted = services.sorted { ServicePlan.key($0) < ServicePlan.key($1) }
    var addresses = ServiceAddresses(ranges: ranges)
    for service in sorted { addresses.reserve(service) }
    for service in sorted {
      var outcome = Outcome(namespace: service.metadata.namespace ?? "default", name: service.metadata.name ?? "")
      do throws(ServiceProblem) {
        try Self.checkSupported(service)
        if service.spec.clusterIP == "None" {
          // Headless: names lead to pods, not an address to them.
        } else {
          outcome.addresses = try addresses.take(service)
          outcome.ports = try Self.ports(service, outcome.addresses, targets)
          try add(service, outcome)
        }
      } catch {
        outcome.problem = error.description
        outcome.ports = []
      }
      outcomes.append(outcome)
    }
  }

  static func key(_ service: Service) -> String {
    "\(service.metadata.namespace ?? "default")/\(service.metadata.name ?? "")"
  }

  /// Without an API server nobody gives addresses of load balancers, or node ports.
  private static func checkSupported(_ service: Service) throws(ServiceProblem) {
    let spec = service.spec
    if let type = spec.type, !["ClusterIP", "NodePort"].contains(type) {
      throw ServiceProblem("spec.type: \(type) is not supported in a manifest, only ClusterIP and NodePort")
    }
    if let balance = service.metadata.annotations[balanceAnnotation],
      !["round-robin", "random", "hash"].contains(balance)
    {
      throw ServiceProblem(
        "metadata.annotations[\(balanceAnnotation)]: \"\(balance)\" is not round-robin, random or hash")
    }
    if !spec.loadBalancerSourceRanges.isEmpty {
      throw ServiceProblem("spec.loadBalancerSourceRanges: only for LoadBalancer, which is not supported in a manifest")
    }
    let isHeadless = spec.clusterIP == "None"
    if spec.ports.isEmpty, !isHeadless { throw ServiceProblem("spec.ports: required") }
    for (index, port) in spec.ports.enumerated() {
      let given = port.nodePort ?? 0
      if spec.type == "NodePort", !isHeadless, given == 0 {
        throw ServiceProblem("spec.ports[\(index)].nodePort: required in a manifest: nobody gives one")
      }
      if given != 0, spec.type != "NodePort" || UInt16(exactly: given) == nil {
        throw ServiceProblem("spec.ports[\(index)].nodePort: \(given) needs type NodePort, and to be 1 to 65535")
      }
    }
  }

  private static func ports(
    _ service: Service, _ addresses: [IPAddress], _ targets: [ServiceTarget]
  ) throws(ServiceProblem) -> [Port] {
    let families = Set(addresses.map(\.family))
    // No selector, no endpoints: someone else would have to name them.
    let chosen =
      service.spec.selector.isEmpty
      ? []
      : targets.filter {
        $0.namespace == service.metadata.namespace ?? "default"
          && ($0.isReady || service.spec.publishNotReadyAddresses == true)
          && LabelSelector.matches($0.labels, equality: service.spec.selector)
      }
    var seen: Set<String> = []
    var ports: [Port] = []
    for (index, port) in service.spec.ports.enumerated() {
      let place = "spec.ports[\(index)]"
      let transport = port.`protocol` ?? "TCP"
      guard TransportProtocol(kubernetes: transport) != nil else {
        throw ServiceProblem("\(place).protocol: \(transport) is not supported")
      }
      guard let number = UInt16(exactly: port.port), number > 0 else {
        throw ServiceProblem("\(place).port: must be 1 to 65535")
      }
      guard seen.insert("\(transport)/\(number)").inserted else {
        throw ServiceProblem("\(place).port: \(number) stands twice")
      }
      if service.spec.ports.count > 1, (port.name ?? "").isEmpty {
        throw ServiceProblem("\(place).name: required where there are several ports")
      }
      var endpoints: Set<ServiceEndpoint> = []
      for target in chosen {
        guard let inner = try targetPort(port, transport, target, place) else { continue }
        for address in target.addresses where families.contains(address.family) {
          endpoints.insert(ServiceEndpoint(address: address, port: inner))
        }
      }
      ports.append(Port(name: port.name ?? "", transport: transport, port: number, endpoints: endpoints.sorted()))
    }
    return ports
  }

  /// Nil: this pod has no port of that name.
  private static func targetPort(
    _ port: ServicePort, _ transport: String, _ target: ServiceTarget, _ place: String
  ) throws(ServiceProblem) -> UInt16? {
    switch port.targetPort ?? .int(port.port) {
    case .string(let name): return target.namedPorts["\(transport)/\(name)"]
    case .int(let number):
      guard let inner = UInt16(exactly: number), inner > 0 else {
        throw ServiceProblem("\(place).targetPort: must be 1 to 65535")
      }
      return inner
    }
  }

  /// As a Service of an API server whose slices name these endpoints, all of them this node's.
  private mutating func add(_ service: Service, _ outcome: Outcome) throws(ServiceProblem) {
    var placed = service
    placed.metadata.namespace = outcome.namespace
    placed.spec.clusterIPs = outcome.addresses.map(\.description)
    placed.spec.clusterIP = placed.spec.clusterIPs.first
    let served = ServedService(placed, slices: outcome.ports.flatMap(Self.slices), node: ProxyNode(name: Self.here))
    if let trouble = served.problems.first { throw ServiceProblem(trouble.message) }
    var next = table
    for entry in served.entries {
      if let other = next.services[entry.key] {
        throw ServiceProblem("\(entry.key.place) is taken by service \(other.id)")
      }
      do throws(EntryProblem) {
        try next.set(entry)
      } catch {
        throw ServiceProblem("\(error)")
      }
    }
    table = next
  }

  private static let here = "here"

  /// A slice for each family and target port, because all endpoints of a slice have the same.
  private static func slices(_ port: Port) -> [EndpointSlice] {
    Dictionary(grouping: port.endpoints, by: \.port).sorted { $0.key < $1.key }.flatMap { number, endpoints in
      [IPAddress.Family.ipv4, .ipv6].compactMap { family -> EndpointSlice? in
        var slice = EndpointSlice()
        slice.addressType = family == .ipv4 ? "IPv4" : "IPv6"
        slice.endpoints = endpoints.filter { $0.address.family == family }.map { target in
          var endpoint = Endpoint()
          (endpoint.addresses, endpoint.nodeName) = ([target.address.description], here)
          return endpoint
        }
        if slice.endpoints.isEmpty { return nil }
        var inner = EndpointPort()
        (inner.name, inner.port, inner.`protocol`) = (port.name, Int32(number), port.transport)
        slice.ports = [inner]
        return slice
      }
    }
  }
}

/// Why a Service is not in the dataplane: the field and what is wrong with it.
struct ServiceProblem: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}
