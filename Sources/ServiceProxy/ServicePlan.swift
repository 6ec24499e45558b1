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
          try add(outcome, try Self.balance(service))
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

  private static func checkSupported(_ service: Service) throws(ServiceProblem) {
    let spec = service.spec
    if let type = spec.type, type != "ClusterIP" {
      throw ServiceProblem("spec.type: \(type) is not supported, only ClusterIP")
    }
    if let affinity = spec.sessionAffinity, affinity != "None" {
      throw ServiceProblem("spec.sessionAffinity: \(affinity) is not supported, only None")
    }
    if spec.ports.isEmpty, spec.clusterIP != "None" { throw ServiceProblem("spec.ports: required") }
  }

  private static func balance(_ service: Service) throws(ServiceProblem) -> ServiceEntry.Balance {
    switch service.metadata.annotations[balanceAnnotation] {
    case nil, "round-robin": return .roundRobin
    case "random": return .random
    case "hash": return .hash
    case let other?:
      throw ServiceProblem(
        "metadata.annotations[\(balanceAnnotation)]: \"\(other)\" is not round-robin, random or hash")
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
      guard transport == "TCP" || transport == "UDP" else {
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

  private mutating func add(_ outcome: Outcome, _ balance: ServiceEntry.Balance) throws(ServiceProblem) {
    var next = table
    for address in outcome.addresses {
      for port in outcome.ports {
        let id = "\(outcome.namespace)/\(outcome.name)" + (port.name.isEmpty ? "" : ":\(port.name)")
        let entry = ServiceEntry(
          id: id, address: address, transport: port.transport == "UDP" ? .udp : .tcp, port: port.port, balance: balance,
          endpoints: port.endpoints.filter { $0.address.family == address.family })
        if let other = next.services[entry.key] {
          throw ServiceProblem("\(address) port \(port.port) is taken by service \(other.id)")
        }
        do throws(EntryProblem) {
          try next.set(entry)
        } catch {
          throw ServiceProblem("\(error)")
        }
      }
    }
    table = next
  }
}

/// Why a Service is not in the dataplane: the field and what is wrong with it.
struct ServiceProblem: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}
