package import Dataplane
internal import Kernel
package import KubeModel

/// A Service of an API server with its EndpointSlices, as entries of the Service table. Pure.
package struct ServedService: Hashable, Sendable {
  /// What this node serves, beyond what Services say.
  package struct Rules: Hashable, Sendable {
    /// Anyone who may write Services could else take over the traffic to any address.
    package var servesExternalIPs = false
    /// `service.kubernetes.io/service-proxy-name`: whose Services these are; those of others are not served.
    package var proxyName = ""

    package init() {}
  }

  /// The port on which load balancers ask this node for the endpoints that it has.
  package struct Health: Hashable, Sendable {
    package var port: UInt16
    package var localEndpoints: Int
  }

  package private(set) var entries: [ServiceEntry] = []
  package private(set) var health: Health?
  /// What of the Service is not done; the rest of it works.
  package private(set) var problems: [ServiceTrouble] = []

  package static let proxyNameLabel = "service.kubernetes.io/service-proxy-name"
  static let affinitySecondsUsual: Int32 = 10_800

  /// - Parameters:
  ///   - slices: those that name the Service; order does not matter.
  ///   - withdrawn: uids of pods that stop here: out, whatever a slice still says.
  package init(
    _ service: Service, slices: [EndpointSlice], node: ProxyNode, withdrawn: Set<String> = [], rules: Rules = Rules()
  ) {
    let spec = service.spec
    guard spec.type != "ExternalName", spec.clusterIP != "None", spec.clusterIPs.first != "None",
      service.metadata.labels[Self.proxyNameLabel] ?? "" == rules.proxyName
    else { return }
    let addresses = clusterAddresses(spec)
    let ways = Ways(
      service, addresses: addresses, balance: balance(service), loadBalancer: loadBalancerAddresses(service),
      external: externalAddresses(spec, rules), sources: sourceRanges(spec))
    var localReady: [IPAddress.Family: Set<IPAddress>] = [:]
    for port in spec.ports {
      let name = port.`protocol` ?? "TCP"
      guard let transport = TransportProtocol(kubernetes: name) else {
        note(.invalidPort, "spec.ports: the protocol \(name) of port \(port.port) is not TCP, UDP or SCTP")
        continue
      }
      guard let number = UInt16(exactly: port.port), number > 0 else {
        note(.invalidPort, "spec.ports: \(port.port) is no port; use 1 to 65535")
        continue
      }
      let backends = backends(slices, port.name ?? "", name, withdrawn)
      for family in ways.families {
        let own = backends.filter { $0.target.address.family == family }
        let choice = bounded(EndpointChoice(own, distribution: spec.trafficDistribution, node: node), number)
        localReady[family, default: []].formUnion(choice.localReady)
        entries += ways.entries(port, transport, number, family, choice)
      }
    }
    if let number = spec.healthCheckNodePort.flatMap({ UInt16(exactly: $0) }), number > 0, spec.type == "LoadBalancer",
      spec.externalTrafficPolicy == "Local"
    {
      health = Health(port: number, localEndpoints: localReady.values.map(\.count).max() ?? 0)
    }
  }

  mutating func note(_ reason: ServiceTrouble.Reason, _ message: String) {
    let trouble = ServiceTrouble(reason, message)
    if !problems.contains(trouble) { problems.append(trouble) }
  }

  // MARK: addresses

  private mutating func clusterAddresses(_ spec: ServiceSpec) -> [IPAddress] {
    let named = spec.clusterIPs.isEmpty ? [spec.clusterIP ?? ""] : spec.clusterIPs
    return addresses(named.filter { !$0.isEmpty }, "spec.clusterIPs")
  }

  private mutating func loadBalancerAddresses(_ service: Service) -> [IPAddress] {
    guard service.spec.type == "LoadBalancer" else { return [] }
    // What a balancer leads here as its own connections is not ours to take.
    let held = service.status.loadBalancer.ingress.filter { $0.ipMode ?? "VIP" == "VIP" }.compactMap(\.ip)
    return addresses(held.filter { !$0.isEmpty }, "status.loadBalancer.ingress")
  }

  private mutating func externalAddresses(_ spec: ServiceSpec, _ rules: Rules) -> [IPAddress] {
    if !spec.externalIPs.isEmpty, !rules.servesExternalIPs {
      note(.notAllowed, "spec.externalIPs: not served; this node was not started with --external-ips")
      return []
    }
    return addresses(spec.externalIPs, "spec.externalIPs")
  }

  private mutating func addresses(_ texts: [String], _ field: String) -> [IPAddress] {
    texts.compactMap { text in
      guard let address = IPAddress(text), address.canBeServed else {
        note(.invalidAddress, "\(field): \"\(text)\" cannot be a Service's address")
        return nil
      }
      return address
    }
  }

  private mutating func sourceRanges(_ spec: ServiceSpec) -> [IPPrefix]? {
    guard spec.type == "LoadBalancer", !spec.loadBalancerSourceRanges.isEmpty else { return nil }
    return spec.loadBalancerSourceRanges.compactMap { text in
      let trimmed = text.filter { !$0.isWhitespace }
      guard let prefix = IPPrefix(withHostBits: trimmed) else {
        note(.invalidAddress, "spec.loadBalancerSourceRanges: \"\(text)\" is no range; nobody comes from there")
        return nil
      }
      return prefix
    }
  }

  private mutating func balance(_ service: Service) -> ServiceEntry.Balance {
    switch service.metadata.annotations[ServicePlan.balanceAnnotation] {
    case nil, "round-robin": return .roundRobin
    case "random": return .random
    case "hash": return .hash
    case let other?:
      note(
        .unknownBalance,
        "metadata.annotations[\(ServicePlan.balanceAnnotation)]: \"\(other)\" is not round-robin, random or hash; "
          + "each endpoint has its turn")
      return .roundRobin
    }
  }

  // MARK: endpoints

  /// All that could take connections to one port, each target once.
  private mutating func backends(
    _ slices: [EndpointSlice], _ name: String, _ transport: String, _ withdrawn: Set<String>
  ) -> [SliceBackend] {
    var found: [ServiceEndpoint: SliceBackend] = [:]
    for slice in slices {
      let family: IPAddress.Family
      switch slice.addressType {
      case "IPv4": family = .ipv4
      case "IPv6": family = .ipv6
      default: continue  // FQDN: names, which are no targets
      }
      let port = slice.ports.first { ($0.name ?? "") == name && ($0.`protocol` ?? "TCP") == transport }
      guard let number = port?.port.flatMap({ UInt16(exactly: $0) }), number > 0 else { continue }
      for endpoint in slice.endpoints {
        if let uid = endpoint.targetRef?.uid, withdrawn.contains(uid) { continue }
        // One pod, several addresses: they are the same, and the first does.
        guard let text = endpoint.addresses.first else { continue }
        guard let address = target(text, family, slice) else { continue }
        let backend = SliceBackend(target: ServiceEndpoint(address: address, port: number), endpoint)
        if let known = found[backend.target], !backend.isBetter(than: known) { continue }
        found[backend.target] = backend
      }
    }
    return Array(found.values)
  }

  private mutating func target(_ text: String, _ family: IPAddress.Family, _ slice: EndpointSlice) -> IPAddress? {
    let name = slice.metadata.name ?? ""
    guard let address = IPAddress(text), address.canBeServed else {
      note(.invalidAddress, "EndpointSlice \(name): \"\(text)\" cannot be an endpoint's address")
      return nil
    }
    guard address.family == family else {
      note(.familyMismatch, "EndpointSlice \(name): \(address) is not \(slice.addressType), as its addressType says")
      return nil
    }
    return address
  }

  private mutating func bounded(_ choice: EndpointChoice, _ port: UInt16) -> EndpointChoice {
    let most = ServiceTable.endpointsPerServiceMax
    guard choice.cluster.count > most || choice.local.count > most else { return choice }
    note(
      .tooManyEndpoints,
      "port \(port): \(max(choice.cluster.count, choice.local.count)) endpoints; the first \(most) by address are used")
    var choice = choice
    choice.cluster = Array(choice.cluster.prefix(most))
    choice.local = Array(choice.local.prefix(most))
    return choice
  }
}

/// The ways to a Service, which all of its ports share.
private struct Ways {
  let spec: ServiceSpec
  let key: String
  let addresses: [IPAddress]
  let balance: ServiceEntry.Balance
  let loadBalancer: [IPAddress]
  let external: [IPAddress]
  let sources: [IPPrefix]?
  let affinitySeconds: Int?
  let families: [IPAddress.Family]

  init(
    _ service: Service, addresses: [IPAddress], balance: ServiceEntry.Balance, loadBalancer: [IPAddress],
    external: [IPAddress], sources: [IPPrefix]?
  ) {
    spec = service.spec
    key = ServicePlan.key(service)
    (self.addresses, self.balance, self.loadBalancer) = (addresses, balance, loadBalancer)
    (self.external, self.sources) = (external, sources)
    let seconds = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? ServedService.affinitySecondsUsual
    affinitySeconds =
      spec.sessionAffinity == "ClientIP" ? min(max(Int(seconds), 1), ServiceTable.affinitySecondsMax) : nil
    families = Set(addresses.map(\.family)).sorted()
  }

  private var isInternalLocal: Bool { spec.internalTrafficPolicy == "Local" }
  private var isExternalLocal: Bool { spec.externalTrafficPolicy == "Local" }
  private var hasNodePorts: Bool { spec.type == "NodePort" || spec.type == "LoadBalancer" }

  func entries(
    _ port: ServicePort, _ transport: TransportProtocol, _ number: UInt16, _ family: IPAddress.Family,
    _ choice: EndpointChoice
  ) -> [ServiceEntry] {
    let id = key + ((port.name ?? "").isEmpty ? "" : ":\(port.name ?? "")")
    // Where other nodes have endpoints, a refusal would be a lie.
    let whenNoneHere: ServiceEntry.Emptiness = choice.exists ? .drop : .reject
    func entry(_ kind: ServiceEntry.Kind, _ address: IPAddress, _ port: UInt16) -> ServiceEntry {
      var entry = ServiceEntry(
        id: id, kind: kind, address: address, transport: transport, port: port, balance: balance,
        affinitySeconds: affinitySeconds, endpoints: choice.cluster)
      if kind == .cluster, isInternalLocal {
        (entry.endpoints, entry.whenEmpty) = (choice.local, whenNoneHere)
      } else if kind != .cluster, isExternalLocal {
        (entry.outside, entry.outsideWhenEmpty) = (choice.local, whenNoneHere)
      }
      return entry
    }
    var entries = addresses.filter { $0.family == family }.map { entry(.cluster, $0, number) }
    entries += external.filter { $0.family == family }.map { entry(.external, $0, number) }
    for address in loadBalancer where address.family == family {
      var balanced = entry(.external, address, number)
      balanced.sourceRanges = sources?.filter { $0.address.family == family }
      entries.append(balanced)
    }
    if hasNodePorts, let nodePort = port.nodePort.flatMap({ UInt16(exactly: $0) }), nodePort > 0 {
      entries.append(entry(.nodePort, .unspecified(family), nodePort))
    }
    return entries
  }
}

extension EndpointSlice {
  /// The label by which a slice belongs to a Service.
  package static let serviceLabel = "kubernetes.io/service-name"

  package var serviceName: String? { metadata.labels[Self.serviceLabel] }
}

extension TransportProtocol {
  /// `TCP`, as objects write it.
  init?(kubernetes name: String) {
    guard let found = Self.allCases.first(where: { $0.description.uppercased() == name }) else { return nil }
    self = found
  }
}

extension IPAddress {
  /// What stands for all addresses of the node.
  static func unspecified(_ family: Family) -> IPAddress {
    family == .ipv4 ? .ipv4(0, 0, 0, 0) : IPAddress(bytes: [UInt8](repeating: 0, count: 16)) ?? .ipv4(0, 0, 0, 0)
  }

  /// Neither a node's own nor for many: an address that a Service or its endpoint may have.
  var canBeServed: Bool {
    if isUnspecified || isLoopback { return false }
    if family == .ipv4 { return bytes[0] < 224 && !(bytes[0] == 169 && bytes[1] == 254) && bytes[0] != 0 }
    // Multicast, link-local, and IPv4 in disguise.
    return bytes[0] != 0xff && !(bytes[0] == 0xfe && bytes[1] & 0xc0 == 0x80)
      && !(bytes[..<10].allSatisfy { $0 == 0 } && bytes[10] == 0xff && bytes[11] == 0xff)
  }
}

extension IPPrefix {
  /// `10.0.0.7/8` is `10.0.0.0/8`.
  init?(withHostBits text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let address = IPAddress(parts[0]), let length = Int(parts[1]), length >= 0,
      length <= address.bytes.count * 8
    else { return nil }
    var bytes = address.bytes
    for index in bytes.indices {
      let bits = min(max(length - index * 8, 0), 8)
      bytes[index] &= bits == 0 ? 0 : UInt8(truncatingIfNeeded: 0xff << (8 - bits))
    }
    guard let first = IPAddress(bytes: bytes) else { return nil }
    self.init(address: first, length: length)
  }
}
