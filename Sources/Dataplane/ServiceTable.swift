package import Kernel

/// Where one connection to a service may end.
package struct ServiceEndpoint: Sendable, Hashable, Comparable {
  package var address: IPAddress
  package var port: UInt16

  package init(address: IPAddress, port: UInt16) {
    self.address = address
    self.port = port
  }

  package static func < (left: ServiceEndpoint, right: ServiceEndpoint) -> Bool {
    left.address == right.address ? left.port < right.port : left.address < right.address
  }
}

/// One virtual address, protocol and port, and the endpoints behind it.
package struct ServiceEntry: Sendable, Hashable {
  package enum Balance: Sendable, Hashable {
    /// Each endpoint in turn.
    case roundRobin
    /// The same client address meets the same endpoint as long as their number stays.
    case hash
  }

  /// What a virtual address, protocol and port identify; no two services of a table share one.
  package struct Key: Sendable, Hashable, Comparable {
    package var address: IPAddress
    package var transport: TransportProtocol
    package var port: UInt16

    package init(address: IPAddress, transport: TransportProtocol, port: UInt16) {
      self.address = address
      self.transport = transport
      self.port = port
    }

    package static func < (left: Key, right: Key) -> Bool {
      if left.address != right.address { return left.address < right.address }
      if left.transport != right.transport { return left.transport.rawValue < right.transport.rawValue }
      return left.port < right.port
    }
  }

  /// For messages only, such as `default/web:http`.
  package var id: String
  package var address: IPAddress
  package var transport: TransportProtocol
  package var port: UInt16
  package var balance: Balance
  /// Of the service's own address family. Order and repetition mean nothing. Empty: connections are refused.
  package var endpoints: [ServiceEndpoint]

  package init(
    id: String, address: IPAddress, transport: TransportProtocol, port: UInt16, balance: Balance = .roundRobin,
    endpoints: [ServiceEndpoint]
  ) {
    self.id = id
    self.address = address
    self.transport = transport
    self.port = port
    self.balance = balance
    self.endpoints = endpoints
  }

  package var key: Key { Key(address: address, transport: transport, port: port) }
}

/// What the dataplane shall do: a value, whatever order it was built in.
package struct ServiceTable: Sendable, Equatable {
  /// Endpoints of one service: what fits the 16 bits that a lane keeps for their number.
  package static let endpointsPerServiceMax = 65_535

  package private(set) var services: [ServiceEntry.Key: ServiceEntry]

  package init() { services = [:] }

  /// - Throws: `ServiceTableError` that names the service: two services with one address, protocol and port, an endpoint
  ///   of another family or with port 0, a port 0, or too many endpoints.
  package init(_ entries: some Sequence<ServiceEntry>) throws(ServiceTableError) {
    services = [:]
    for entry in entries {
      if let other = services[entry.key] { throw .taken(key: entry.key, by: other.id, wantedBy: entry.id) }
      try set(entry)
    }
  }

  /// Adds or replaces the service with the entry's address, protocol and port.
  package mutating func set(_ entry: ServiceEntry) throws(ServiceTableError) {
    if entry.port == 0 || entry.endpoints.contains(where: { $0.port == 0 }) { throw .portZero(id: entry.id) }
    if let stranger = entry.endpoints.first(where: { $0.address.family != entry.address.family }) {
      throw .familyMismatch(id: entry.id, address: entry.address, endpoint: stranger.address)
    }
    var canonical = entry
    canonical.endpoints = Array(Set(entry.endpoints)).sorted()
    if canonical.endpoints.count > ServiceTable.endpointsPerServiceMax {
      throw .tooManyEndpoints(id: entry.id, count: canonical.endpoints.count)
    }
    services[entry.key] = canonical
  }

  package mutating func remove(_ key: ServiceEntry.Key) { services[key] = nil }
}

package enum ServiceTableError: Error, Sendable, Equatable, CustomStringConvertible {
  case taken(key: ServiceEntry.Key, by: String, wantedBy: String)
  case familyMismatch(id: String, address: IPAddress, endpoint: IPAddress)
  case portZero(id: String)
  case tooManyEndpoints(id: String, count: Int)

  package var description: String {
    switch self {
    case .taken(let key, let holder, let other):
      "service \(other): \(key.address) \(key.transport) port \(key.port) is taken by service \(holder); "
        + "give one of them another address or port"
    case .familyMismatch(let id, let address, let endpoint):
      "service \(id): endpoint \(endpoint) is not of the family of its address \(address)"
    case .portZero(let id):
      "service \(id): port 0 is no port; use 1 to 65535"
    case .tooManyEndpoints(let id, let count):
      "service \(id): \(count) endpoints; at most \(ServiceTable.endpointsPerServiceMax)"
    }
  }
}
