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

/// One virtual address, protocol and port, and the endpoints behind it. Several entries may make up one Service: its
/// cluster addresses, its node ports, its external addresses, each with each port.
package struct ServiceEntry: Sendable, Hashable {
  package enum Kind: Sendable, Hashable {
    /// Reached from pods and the node itself; by `masquerade` also from elsewhere.
    case cluster
    /// At every node-port address: `address` is `0.0.0.0` or `::` and stands for those of its family.
    case nodePort
    /// A load balancer's or an external address.
    case external
    /// A port of the node that leads to one of its pods: `address` is the host IP, or `0.0.0.0` or `::` for every
    /// node-port address. Senders keep their address.
    case hostPort
  }

  package enum Balance: Sendable, Hashable {
    /// Each endpoint in turn, exactly.
    case roundRobin
    /// Each connection at random.
    case random
    /// By a consistent hash of client's and virtual address: an endpoint that comes or goes moves few clients.
    case hash
  }

  /// What becomes of connections where there is no endpoint.
  package enum Emptiness: Sendable, Hashable {
    /// TCP is reset, all else gets ICMP port unreachable.
    case reject
    case drop
    /// Nothing is programmed: the node's own sockets and routes decide.
    case none
  }

  /// Whose packets get the node's address on their way to the endpoint. A pod that reaches itself always does.
  package enum Masquerade: Sendable, Hashable {
    /// `cluster`: senders outside the pod blocks that are not the node; `nodePort` and `external`: all, but none where
    /// `outside` stands for the sender; `hostPort`: none.
    case automatic
    case always
    case never
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

  /// Whose problems and messages it is, such as `default/web:http`.
  package var id: String
  package var kind: Kind
  package var address: IPAddress
  package var transport: TransportProtocol
  package var port: UInt16
  package var balance: Balance
  /// A client address keeps its endpoint for so many seconds after its last new connection; nil: it does not. The
  /// endpoint's end ends it.
  package var affinitySeconds: Int?
  /// Of the service's own address family. Order and repetition mean nothing. With `outside` these are for senders in
  /// the pod blocks and the node itself.
  package var endpoints: [ServiceEndpoint]
  package var whenEmpty: Emptiness
  /// Endpoints for everybody else, who keep their address (the external traffic policy Local); nil: `endpoints`.
  package var outside: [ServiceEndpoint]?
  package var outsideWhenEmpty: Emptiness
  /// Senders that may connect; all others are dropped. Nil: everybody. Empty: nobody. Prefixes of the other family
  /// mean nothing here.
  package var sourceRanges: [IPPrefix]?
  package var masquerade: Masquerade

  package init(
    id: String, kind: Kind = .cluster, address: IPAddress, transport: TransportProtocol, port: UInt16,
    balance: Balance = .roundRobin, affinitySeconds: Int? = nil, endpoints: [ServiceEndpoint],
    whenEmpty: Emptiness = .reject, outside: [ServiceEndpoint]? = nil, outsideWhenEmpty: Emptiness = .drop,
    sourceRanges: [IPPrefix]? = nil, masquerade: Masquerade = .automatic
  ) {
    self.id = id
    self.kind = kind
    self.address = address
    self.transport = transport
    self.port = port
    self.balance = balance
    self.affinitySeconds = affinitySeconds
    self.endpoints = endpoints
    self.whenEmpty = whenEmpty
    self.outside = outside
    self.outsideWhenEmpty = outsideWhenEmpty
    self.sourceRanges = sourceRanges
    self.masquerade = masquerade
  }

  package var key: Key { Key(address: address, transport: transport, port: port) }
}

/// What the dataplane shall do for services: a value, whatever order it was built in.
package struct ServiceTable: Sendable, Equatable {
  /// Endpoints that one service may have, each for insiders and outsiders.
  package static let endpointsPerServiceMax = 16_384
  /// A day, Kubernetes' own bound.
  package static let affinitySecondsMax = 86_400
  /// Prefixes of one service.
  package static let sourceRangesMax = 256

  package private(set) var services: [ServiceEntry.Key: ServiceEntry]

  package init() { services = [:] }

  /// All or nothing, for callers that know what they give.
  /// - Throws: the first `EntryProblem`.
  package init(_ entries: some Sequence<ServiceEntry>) throws(EntryProblem) {
    let (table, problems) = ServiceTable.collecting(entries)
    if let first = problems.first { throw first }
    self = table
  }

  /// Everything that can be had, and what is wrong with the rest. Of two that want one address, protocol and port, the
  /// first has it.
  package static func collecting(
    _ entries: some Sequence<ServiceEntry>
  ) -> (table: ServiceTable, problems: [EntryProblem]) {
    var table = ServiceTable()
    var problems: [EntryProblem] = []
    for entry in entries {
      if let other = table.services[entry.key] {
        problems.append(EntryProblem(entry, .addressTaken, "is taken by service \(other.id)"))
        continue
      }
      do throws(EntryProblem) {
        try table.set(entry)
      } catch {
        problems.append(error)
      }
    }
    return (table, problems)
  }

  /// Adds or replaces the service with the entry's address, protocol and port.
  package mutating func set(_ entry: ServiceEntry) throws(EntryProblem) {
    services[entry.key] = try entry.canonical()
  }

  package mutating func remove(_ key: ServiceEntry.Key) { services[key] = nil }
}

extension ServiceEntry {
  /// Endpoints sorted, each once; everything checked.
  func canonical() throws(EntryProblem) -> ServiceEntry {
    if port == 0 { throw EntryProblem(self, .invalidPort, "has port 0; use 1 to 65535") }
    var canonical = self
    canonical.endpoints = try checked(endpoints)
    if let outside { canonical.outside = try checked(outside) }
    if address.isUnspecified != (kind == .nodePort) && !(kind == .hostPort && address.isUnspecified) {
      let what = kind == .nodePort ? "a node port stands at 0.0.0.0 or ::" : "no service can have it"
      throw EntryProblem(self, .invalidAddress, what)
    }
    if let seconds = affinitySeconds, !(1...ServiceTable.affinitySecondsMax).contains(seconds) {
      throw EntryProblem(
        self, .invalidAffinity, "keeps clients \(seconds) seconds; use 1 to \(ServiceTable.affinitySecondsMax)")
    }
    if let sourceRanges {
      canonical.sourceRanges = Self.disjoint(sourceRanges.filter { $0.address.family == address.family })
      if sourceRanges.count > ServiceTable.sourceRangesMax {
        throw EntryProblem(
          self, .tooManySourceRanges, "\(sourceRanges.count) source ranges; at most \(ServiceTable.sourceRangesMax)")
      }
    }
    return canonical
  }

  private func checked(_ endpoints: [ServiceEndpoint]) throws(EntryProblem) -> [ServiceEndpoint] {
    for endpoint in endpoints {
      if endpoint.port == 0 { throw EntryProblem(self, .invalidPort, "endpoint \(endpoint.address) has port 0") }
      if endpoint.address.family != address.family {
        throw EntryProblem(self, .familyMismatch, "endpoint \(endpoint.address) is of another family")
      }
      if endpoint.address.isUnspecified {
        throw EntryProblem(self, .invalidAddress, "endpoint \(endpoint.address) is no address")
      }
    }
    // What comes from a slice is mostly in order already.
    let inOrder = zip(endpoints, endpoints.dropFirst()).allSatisfy { $0 < $1 }
    let sorted = inOrder ? endpoints : Array(Set(endpoints)).sorted()
    if sorted.count > ServiceTable.endpointsPerServiceMax {
      throw EntryProblem(
        self, .tooManyEndpoints, "\(sorted.count) endpoints; at most \(ServiceTable.endpointsPerServiceMax)")
    }
    return sorted
  }

  /// Without what lies in another, sorted: the kernel refuses intervals that overlap.
  static func disjoint(_ prefixes: [IPPrefix]) -> [IPPrefix] {
    var kept: [IPPrefix] = []
    for prefix in Set(prefixes).sorted(by: { ($0.length, $0.address) < ($1.length, $1.address) })
    where !kept.contains(where: { $0.contains(prefix.address) }) { kept.append(prefix) }
    return kept.sorted { $0.address < $1.address }
  }
}

/// Why one service is not in the kernel's table, or not whole; all others are.
package struct EntryProblem: Error, Sendable, Hashable, CustomStringConvertible {
  /// For conditions and metrics, in CamelCase.
  package enum Reason: String, Sendable, Hashable {
    /// Another service has this address, protocol and port.
    case addressTaken = "AddressTaken"
    case invalidAddress = "InvalidAddress"
    case invalidPort = "InvalidPort"
    case familyMismatch = "FamilyMismatch"
    case tooManyEndpoints = "TooManyEndpoints"
    case invalidAffinity = "InvalidAffinity"
    case tooManySourceRanges = "TooManySourceRanges"
  }
  /// `ServiceEntry.id`.
  package var id: String
  package var key: ServiceEntry.Key
  package var reason: Reason
  package var detail: String

  init(_ entry: ServiceEntry, _ reason: Reason, _ detail: String) {
    (id, key, self.reason, self.detail) = (entry.id, entry.key, reason, detail)
  }

  package var description: String { "service \(id): \(key.address) \(key.transport) port \(key.port): \(detail)" }
}
package typealias ServiceTableError = EntryProblem
