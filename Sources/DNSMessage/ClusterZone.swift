/// A Service or one endpoint's place, as the zone names it.
package struct ZoneKey: Hashable, Sendable, Comparable {
  package var namespace: String
  package var name: String

  package init(namespace: String, name: String) { (self.namespace, self.name) = (namespace, name) }

  package static func < (left: Self, right: Self) -> Bool {
    (left.namespace, left.name) < (right.namespace, right.name)
  }
}

package struct ZonePort: Hashable, Sendable {
  /// Empty: it has none, and no record of its own.
  package var name: String
  /// `tcp`, `udp` or `sctp`.
  package var transport: String
  package var port: UInt16

  package init(name: String, transport: String, port: UInt16) {
    (self.name, self.transport, self.port) = (name, transport, port)
  }
}

/// What the zone knows of a Service.
package struct ZoneService: Hashable, Sendable {
  package enum Kind: Hashable, Sendable {
    /// Addresses of 4 or 16 bytes.
    case virtual([[UInt8]])
    case headless
    case external(DNSName)
  }
  package var kind: Kind
  package var ports: [ZonePort]

  package init(kind: Kind, ports: [ZonePort]) { (self.kind, self.ports) = (kind, ports) }
}

/// Ready endpoints of one family, as an EndpointSlice has them.
package struct ZoneSlice: Hashable, Sendable {
  package struct Endpoint: Hashable, Sendable {
    /// 4 or 16 bytes.
    package var address: [UInt8]
    /// Nil: it is named by its address.
    package var hostname: String?

    package init(address: [UInt8], hostname: String?) { (self.address, self.hostname) = (address, hostname) }

    /// The label below its Service.
    package var label: String { hostname ?? DNSAddress.dashed(address) }
  }
  package var endpoints: [Endpoint]
  package var ports: [ZonePort]

  package init(endpoints: [Endpoint], ports: [ZonePort]) { (self.endpoints, self.ports) = (endpoints, ports) }
}

/// Addresses whose names nobody else knows.
package struct ZoneRange: Hashable, Sendable {
  package var address: [UInt8]
  package var prefixBits: Int

  package init(address: [UInt8], prefixBits: Int) { (self.address, self.prefixBits) = (address, prefixBits) }

  package func contains(_ other: [UInt8]) -> Bool {
    guard other.count == address.count else { return false }
    for index in address.indices {
      let bits = min(8, max(0, prefixBits - 8 * index))
      let mask = UInt8(truncatingIfNeeded: 0xff00 >> bits)
      if address[index] & mask != other[index] & mask { return false }
    }
    return true
  }
}

/// The names of a cluster: Kubernetes DNS-Based Service Discovery, 1.1.0. A value; every lookup takes the time of its answer.
package struct ClusterZone: Sendable {
  /// Seconds that clients may remember an answer: a Service's endpoints change as fast as its pods.
  package static let ttl: UInt32 = 5
  static let schemaVersion = "1.1.0"

  /// As `cluster.local`.
  package let domain: DNSName
  let domainWords: [String]
  /// The name server's own addresses.
  package var serverAddresses: [[UInt8]] = []
  /// Addresses without a name in them do not exist; of others, somebody else may know.
  package var ranges: [ZoneRange] = []
  private(set) var services: [ZoneKey: ZoneService] = [:]
  private(set) var slices: [ZoneKey: [String: ZoneSlice]] = [:]
  /// Services of each namespace.
  private var namespaces: [String: Int] = [:]
  private(set) var owners: [[UInt8]: Set<ZoneKey>] = [:]
  private(set) var endpointOwners: [[UInt8]: [ZoneKey: Int]] = [:]

  package init(domain: DNSName) {
    self.domain = domain
    domainWords = domain.words
  }

  package var servicesCount: Int { services.count }

  func isKnown(namespace: String) -> Bool { namespaces[namespace] != nil }

  /// - Parameter service: nil where there is none any more.
  package mutating func set(_ key: ZoneKey, _ service: ZoneService?) {
    let old = services.updateValue(service ?? ZoneService(kind: .headless, ports: []), forKey: key)
    if service == nil { services[key] = nil }
    if case .virtual(let addresses)? = old?.kind {
      for address in addresses {
        owners[address]?.remove(key)
        if owners[address]?.isEmpty == true { owners[address] = nil }
      }
    }
    if case .virtual(let addresses)? = service?.kind {
      for address in addresses { owners[address, default: []].insert(key) }
    }
    let change = (service == nil ? 0 : 1) - (old == nil ? 0 : 1)
    let count = namespaces[key.namespace, default: 0] + change
    namespaces[key.namespace] = count > 0 ? count : nil
  }

  /// - Parameters:
  ///   - name: of the slice in its namespace.
  ///   - slice: nil where there is none any more.
  package mutating func set(slice name: String, of service: ZoneKey, _ slice: ZoneSlice?) {
    let old = slices[service]?[name]
    slices[service, default: [:]][name] = slice
    if slices[service]?.isEmpty == true { slices[service] = nil }
    for endpoint in old?.endpoints ?? [] { count(endpoint.address, service, -1) }
    for endpoint in slice?.endpoints ?? [] { count(endpoint.address, service, 1) }
  }

  private mutating func count(_ address: [UInt8], _ service: ZoneKey, _ change: Int) {
    let count = endpointOwners[address, default: [:]][service, default: 0] + change
    endpointOwners[address, default: [:]][service] = count > 0 ? count : nil
    if endpointOwners[address]?.isEmpty == true { endpointOwners[address] = nil }
  }
}
